package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.api.errors.v1.Failure;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.Permit;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import io.opentelemetry.context.Scope;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/** Takes calls on, runs as many as may run, and answers each of them once. */
final class Host {
  /** What an operation has to end by itself once its call is taken back or its time is over. */
  private static final Duration LAST_WORDS = Duration.ofMillis(500);

  private static final Duration DEFAULT_TIMEOUT = Duration.ofMinutes(1);
  private static final System.Logger LOG = System.getLogger(Host.class.getName());

  private final Description plugin;
  private final Identity identity;
  private final Spans spans;
  private final Tally tally = new Tally();
  private final ExecutorService workers = Executors.newCachedThreadPool(daemons("operation"));
  private final ScheduledThreadPoolExecutor timers =
      new ScheduledThreadPoolExecutor(1, daemons("timer"));

  /**
   * Writes the sessions: what ends while it writes leaves together. After the end nothing is
   * written.
   */
  private final ThreadPoolExecutor writer =
      new ThreadPoolExecutor(
          1,
          1,
          0,
          TimeUnit.SECONDS,
          new LinkedBlockingQueue<>(),
          daemons("writer"),
          new ThreadPoolExecutor.DiscardPolicy());

  private final CountDownLatch drained = new CountDownLatch(1);

  private final Object lock = new Object();
  private final Admission admission;
  private final Permits permits = new Permits();
  private final Deque<RunningCall> waiting = new ArrayDeque<>();
  private boolean draining;

  Host(Description plugin, Identity identity, int queue, Spans spans) {
    this.plugin = plugin;
    this.identity = identity;
    this.spans = spans;
    this.admission = new Admission(plugin.manifest().getMaxConcurrency(), queue);
    timers.setRemoveOnCancelPolicy(true);
  }

  static ThreadFactory daemons(String name) {
    AtomicInteger number = new AtomicInteger();
    return run -> {
      Thread thread = new Thread(run, name + "-" + number.incrementAndGet());
      thread.setDaemon(true);
      return thread;
    };
  }

  Description plugin() {
    return plugin;
  }

  Identity identity() {
    return identity;
  }

  Tally tally() {
    return tally;
  }

  ScheduledThreadPoolExecutor timers() {
    return timers;
  }

  Executor writer() {
    return writer;
  }

  /** How many calls the host takes at a time, its queue included. */
  int capacity() {
    return admission.capacity();
  }

  int concurrency() {
    return admission.concurrency();
  }

  int running() {
    synchronized (lock) {
      return admission.running();
    }
  }

  int waiting() {
    synchronized (lock) {
      return admission.waiting();
    }
  }

  /**
   * Takes a call on, or throws why it is refused; the receiver is told its answer later. What the
   * transport allows, which may be null, bounds what the invocation says.
   */
  RunningCall take(Deadline transport, Invocation invocation, Receiver receiver, boolean credited) {
    Description.Described operation = plugin.operations().get(invocation.getOperation());
    synchronized (lock) {
      refuse(invocation, operation);
      long now = System.nanoTime();
      Permits.Generation of = refusePermit(invocation, now);
      long within = allowedNanos(transport, invocation, operation);
      Admission.Verdict verdict = admission.arrive(credited, within);
      if (verdict == Admission.Verdict.FULL) {
        throw Failures.instanceFull(identity.instanceId(), admission.running());
      }
      if (verdict == Admission.Verdict.TOO_LATE) {
        throw Failures.queueTooLong(
            identity.instanceId(),
            Duration.ofNanos(admission.expectedWaitNanos()),
            Duration.ofNanos(within));
      }
      if (of != null) { // not before: a permit whose call was refused is still good
        permits.use(invocation.getPermit().getPermitId(), of, now);
      }
      RunningCall call =
          new RunningCall(invocation, operation, receiver, within, spans.begin(invocation));
      call.timer = timers.schedule(() -> expire(call), within, TimeUnit.NANOSECONDS);
      if (verdict == Admission.Verdict.ADMITTED) {
        start(call);
      } else {
        waiting.add(call);
      }
      return call;
    }
  }

  private void refuse(Invocation invocation, Description.Described operation) {
    if (draining) {
      throw Failures.instanceDraining(identity.instanceId());
    }
    FaultException other = identity.refusal(invocation.getIncarnation());
    if (other != null) {
      throw other;
    }
    if (operation == null) {
      throw Failures.operationNotFound(
          plugin.id(),
          Failures.cut(invocation.getOperation()),
          String.join(", ", plugin.operations().keySet()));
    }
  }

  /** The generation of the call's permit; null if it has none. */
  private Permits.Generation refusePermit(Invocation invocation, long now) {
    if (!invocation.hasPermit()) {
      return null;
    }
    Permit permit = invocation.getPermit();
    long meant = invocation.getIncarnation();
    Permits.Generation of =
        new Permits.Generation(meant == 0 ? identity.incarnation() : meant, permit.getGeneration());
    String why = permits.refusal(permit.getPermitId(), of, now);
    if (!why.isEmpty()) {
      throw Failures.permitRefused(identity.instanceId(), Failures.cut(permit.getPermitId()), why);
    }
    return of;
  }

  /**
   * How long a call may take: what its caller says, or the operation, or the mesh; never beyond the
   * transport.
   */
  private static long allowedNanos(
      Deadline transport, Invocation invocation, Description.Described operation) {
    long within = DEFAULT_TIMEOUT.toNanos();
    if (invocation.getRemainingMillis() > 0) {
      within = TimeUnit.MILLISECONDS.toNanos(invocation.getRemainingMillis());
    } else if (operation.published().hasTimeout()) {
      com.google.protobuf.Duration said = operation.published().getTimeout();
      within = TimeUnit.SECONDS.toNanos(said.getSeconds()) + said.getNanos();
    }
    return transport == null
        ? within
        : Math.min(within, transport.timeRemaining(TimeUnit.NANOSECONDS));
  }

  /** Takes a call back; without effect once it is answered. */
  void cancel(RunningCall call) {
    endEarly(call, Failures.cancelled(call.invocation.getStepPath()));
  }

  private void expire(RunningCall call) {
    boolean waits;
    long expected;
    synchronized (lock) {
      waits = !call.hasStarted;
      expected = admission.expectedWaitNanos();
    }
    Duration within = Duration.ofNanos(call.withinNanos);
    endEarly(
        call,
        waits
            ? Failures.queueTooLong(
                identity.instanceId(),
                Duration.ofNanos(Math.max(expected, call.withinNanos)),
                within)
            : Failures.timedOut(call.invocation.getStepPath(), within));
  }

  /** Tells the operation, and answers when it has ended or has used up its last words. */
  private void endEarly(RunningCall call, FaultException fault) {
    Failure failure = Failures.message(fault, call.invocation.getStepPath());
    synchronized (lock) {
      if (call.isAnswered || call.ending != null) {
        return;
      }
      call.ending = failure;
      call.timer.cancel(false);
      if (call.hasStarted) {
        call.timer =
            timers.schedule(
                () -> answer(call, null, failure), LAST_WORDS.toNanos(), TimeUnit.NANOSECONDS);
        if (call.worker != null) {
          tell(call, fault);
        }
        return;
      }
      admission.abandon();
      waiting.remove(call);
    }
    answer(call, null, failure);
    release(call);
  }

  /** Under the lock, so that no other call's thread is interrupted. */
  private static void tell(RunningCall call, FaultException fault) {
    boolean late = fault.code() == Status.Code.DEADLINE_EXCEEDED;
    call.context.cancel(late ? new TimeoutException(fault.explanation()) : null);
    call.worker.interrupt();
  }

  private void start(RunningCall call) {
    call.hasStarted = true;
    call.started = System.nanoTime();
    workers.execute(() -> run(call));
  }

  private void run(RunningCall call) {
    call.receiver.begun(call);
    Payload output = null;
    Failure failure = null;
    try {
      output = perform(call);
      if (output.size() > Failures.MOST_OUTPUT) {
        throw Failures.tooLarge(
            "the output of " + call.name(), output.size(), Failures.MOST_OUTPUT);
      }
    } catch (Throwable thrown) { // whatever it is, it is the operation's failure and nothing more
      failure = failureOf(call, thrown);
    }
    synchronized (lock) {
      call.worker = null;
      Thread.interrupted(); // what was meant for this call is not for the next one
      if (call.ending != null) {
        failure = call.ending;
      }
      if (admission.leave(System.nanoTime() - call.started)) {
        start(waiting.remove());
      }
    }
    answer(call, output, failure);
    release(call);
  }

  private Payload perform(RunningCall call) throws Throwable {
    Call about = about(call);
    Deadline deadline =
        Deadline.after(call.withinNanos - (System.nanoTime() - call.arrived), TimeUnit.NANOSECONDS);
    Context.CancellableContext context = about.in(Context.ROOT).withDeadline(deadline, timers);
    synchronized (lock) {
      call.context = context;
      call.worker = Thread.currentThread();
      if (call.ending != null) { // it was taken back before it could be told
        context.cancel(null);
        call.worker.interrupt();
      }
    }
    Context before = context.attach();
    try (Scope scope = call.span.enter()) {
      return call.operation.run(Payload.of(call.invocation.getInput()), about);
    } finally {
      context.detach(before);
      context.cancel(null);
    }
  }

  private static Call about(RunningCall call) {
    return new Call(
        call.invocation,
        call.span.traceparent(),
        (fraction, note, details) -> {
          if (!call.silent) {
            call.receiver.progressed(call, fraction, Failures.cut(note), details);
          }
        });
  }

  /** What an operation threw, as data. */
  private Failure failureOf(RunningCall call, Throwable thrown) {
    FaultException fault;
    if (thrown instanceof Description.MisfitException unfit) {
      fault =
          unfit.isOfOutput()
              ? Failures.outputInvalid(plugin.id(), call.name(), unfit.getMessage())
              : Failures.inputInvalid(plugin.id(), call.name(), unfit.getMessage());
    } else if (thrown instanceof FaultException meant) {
      fault = meant;
    } else if (System.nanoTime() - call.arrived
        >= call.withinNanos) { // its context told it before the timer could
      fault = Failures.timedOut(call.invocation.getStepPath(), Duration.ofNanos(call.withinNanos));
    } else {
      fault = Failures.pluginException(plugin.id(), call.name(), thrown);
      if (!isEnding(call)) {
        LOG.log(
            Level.ERROR,
            "%s threw an exception, execution_id=%s step_path=%s"
                .formatted(
                    call.name(), call.invocation.getExecutionId(), call.invocation.getStepPath()),
            thrown);
      }
    }
    return Failures.message(fault, call.invocation.getStepPath());
  }

  private boolean isEnding(RunningCall call) {
    synchronized (lock) {
      return call.ending != null;
    }
  }

  /** Makes the outcome known; only the first one counts. */
  private void answer(RunningCall call, Payload output, Failure failure) {
    synchronized (lock) {
      if (call.isAnswered) {
        return;
      }
      call.isAnswered = true;
      call.timer.cancel(false);
      call.silent = true;
      call.finished = System.nanoTime();
      call.output = output;
      call.failure = failure;
    }
    tally.add(call.finished, call.finished - call.arrived, isOurFault(failure));
    call.span.end(call);
    call.receiver.answered(call);
  }

  /** Lets go of the call: its operation no longer runs. */
  private void release(RunningCall call) {
    boolean over;
    synchronized (lock) {
      over = draining && admission.isIdle();
    }
    call.receiver.released(call);
    if (over) {
      drained.countDown();
    }
  }

  /**
   * Takes nothing on from now, and returns when everything taken on has ended: false if that takes
   * too long.
   */
  boolean drain(Duration within) throws InterruptedException {
    synchronized (lock) {
      draining = true;
      if (admission.isIdle()) {
        drained.countDown();
      }
    }
    return drained.await(within.toNanos(), TimeUnit.NANOSECONDS);
  }

  void close() {
    workers.shutdownNow();
    timers.shutdownNow();
    writer.shutdownNow();
  }

  /** Whether a failure counts against the instance. */
  private static boolean isOurFault(Failure failure) {
    return failure != null
        && switch (Status.fromCodeValue(failure.getCode()).getCode()) {
          case UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS -> true;
          default -> false;
        };
  }
}
