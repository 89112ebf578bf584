package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.api.plugin.v1.Cancel;
import dev.forgemesh.api.plugin.v1.ClientHello;
import dev.forgemesh.api.plugin.v1.Drain;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.InvocationResult;
import dev.forgemesh.api.plugin.v1.Progress;
import dev.forgemesh.api.plugin.v1.ServerHello;
import dev.forgemesh.api.plugin.v1.SessionRequest;
import dev.forgemesh.api.plugin.v1.SessionResponse;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Reads and writes one stream. Whatever waits when the stream can be written leaves as one message;
 * the reader never waits for the writer. The session lasts until its caller is done or the host has
 * drained; its loss takes all its calls back.
 */
final class Session implements StreamObserver<SessionRequest>, Receiver {
  /** The session protocol, the only one there is. */
  private static final int PROTOCOL = 1;

  private static final int HELLO_SECONDS = 10;
  private static final int FRAME_BYTES = 1 << 20;

  /** The bytes of a result, or of a word of progress, besides what is of any length. */
  private static final int OVERHEAD = 64;

  private static final int RECEIPT_BYTES = 11;

  private final Host host;
  private final Sessions sessions;
  private final ServerCallStreamObserver<SessionResponse> to;
  private final boolean endIsTold;
  private final Future<?> helloTimer;
  private final AtomicBoolean isAwake = new AtomicBoolean();

  /**
   * The caller's credits and its calls in the host; belongs to the sessions' lock, as does what
   * follows.
   */
  int held;

  /** The calls that have ended since the last grant. */
  int finished;

  private final Object lock = new Object();
  private final Map<Long, RunningCall> calls = new HashMap<>();
  private final Set<Long> accepted = new LinkedHashSet<>();
  private final Deque<InvocationResult> results = new ArrayDeque<>();
  private final Map<Long, Progress> progress = new LinkedHashMap<>();
  private ServerHello hello;
  private FaultException broken;
  private boolean welcomed;
  private boolean halfClosed;
  private boolean saidDrain;
  private volatile boolean closed;
  private long newest;

  Session(
      Host host,
      Sessions sessions,
      ServerCallStreamObserver<SessionResponse> to,
      boolean endIsTold) {
    this.host = host;
    this.sessions = sessions;
    this.to = to;
    this.endIsTold = endIsTold;
    this.helloTimer =
        host.timers()
            .schedule(
                () ->
                    end(
                        Failures.invalidRequest(
                            "hello", "has not come within " + HELLO_SECONDS + " s")),
                HELLO_SECONDS,
                TimeUnit.SECONDS);
    to.setOnReadyHandler(this::wake);
    to.setOnCancelHandler(this::lost);
  }

  @Override
  public void onNext(SessionRequest request) {
    if (closed || broken != null) {
      return;
    }
    try {
      if (hello == null) {
        welcome(request);
      } else if (request.hasHello()) {
        throw Failures.invalidRequest("hello", "is the first message of a session, and only that");
      }
      for (Invocation invocation : request.getInvocationsList()) {
        if (Long.compareUnsigned(invocation.getCallId(), newest) <= 0) {
          throw Failures.invalidRequest(
              "invocations.call_id",
              "%s is not above %s"
                  .formatted(
                      Long.toUnsignedString(invocation.getCallId()),
                      Long.toUnsignedString(newest)));
        }
        newest = invocation.getCallId();
        invoke(invocation);
      }
      for (Cancel cancel : request.getCancelsList()) {
        RunningCall call;
        synchronized (lock) {
          call = calls.get(cancel.getCallId());
        }
        if (call != null) {
          host.cancel(call);
        }
      }
    } catch (FaultException fault) {
      end(fault);
    }
  }

  @Override
  public void onCompleted() {
    if (hello == null) {
      end(Failures.invalidRequest("hello", "is the first message of a session"));
      return;
    }
    synchronized (lock) {
      halfClosed = true;
    }
    wake();
  }

  @Override
  public void onError(Throwable thrown) {
    lost();
  }

  private void welcome(SessionRequest request) {
    if (!request.hasHello()) {
      throw Failures.invalidRequest("hello", "is the first message of a session");
    }
    ClientHello said = request.getHello();
    FaultException other = host.identity().refusal(said.getIncarnation());
    if (other != null) {
      throw other;
    }
    if (Integer.compareUnsigned(said.getProtocolMin(), PROTOCOL) > 0
        || Integer.compareUnsigned(said.getProtocolMax(), PROTOCOL) < 0) {
      throw Failures.protocolUnsupported(PROTOCOL, said.getProtocolMin(), said.getProtocolMax());
    }
    helloTimer.cancel(false);
    sessions.enter(this);
    synchronized (lock) {
      hello =
          ServerHello.newBuilder()
              .setProtocol(PROTOCOL)
              .setInstanceId(host.identity().instanceId())
              .setIncarnation(host.identity().incarnation())
              .setPluginId(host.plugin().id())
              .setTellsBegun(true)
              .setEndIsTold(endIsTold)
              .build();
    }
    wake();
  }

  private void invoke(Invocation invocation) {
    int open;
    synchronized (lock) {
      calls.put(invocation.getCallId(), null); // so that a call that is answered at once is known
      open = calls.size();
    }
    if (!sessions.hadCredit(this, open)) {
      refuse(invocation, Failures.instanceFull(host.identity().instanceId(), open - 1), false);
      return;
    }
    RunningCall call;
    try {
      call = host.take(null, invocation, this, true);
    } catch (FaultException refusal) {
      refuse(invocation, refusal, true);
      return;
    }
    boolean late;
    synchronized (lock) {
      if (calls.containsKey(invocation.getCallId())) {
        calls.put(invocation.getCallId(), call);
      }
      late = closed;
    }
    if (late) {
      host.cancel(call);
    }
  }

  /**
   * Answers a call that is not taken on. The credit that it came with comes back, unless it had
   * none.
   */
  private void refuse(Invocation invocation, FaultException fault, boolean credited) {
    if (credited) {
      sessions.finished(this);
    }
    synchronized (lock) {
      calls.remove(invocation.getCallId());
      results.add(
          InvocationResult.newBuilder()
              .setCallId(invocation.getCallId())
              .setAttempt(invocation.getAttempt())
              .setFailure(Failures.message(fault, invocation.getStepPath()))
              .build());
    }
    wake();
  }

  @Override
  public void begun(RunningCall call) {
    synchronized (lock) {
      accepted.add(call.id());
    }
    wake();
  }

  @Override
  public void answered(RunningCall call) {
    InvocationResult result = call.result();
    synchronized (lock) {
      accepted.remove(call.id());
      Progress said = progress.get(call.id());
      if (said != null && (!result.hasFailure() || !said.hasDetails())) {
        progress.remove(call.id()); // its result says it all
      }
      results.add(result);
    }
    wake();
  }

  @Override
  public void released(RunningCall call) {
    synchronized (lock) {
      calls.remove(call.id());
    }
    sessions.finished(this);
    wake();
  }

  @Override
  public void progressed(RunningCall call, double fraction, String note, Payload details) {
    Progress.Builder said =
        Progress.newBuilder().setCallId(call.id()).setFraction(fraction).setNote(note);
    synchronized (lock) {
      Progress earlier = progress.get(call.id());
      if (details != null) {
        said.setDetails(details.message());
      } else if (earlier != null && earlier.hasDetails()) {
        said.setDetails(earlier.getDetails());
      }
      progress.put(call.id(), said.build());
    }
    wake();
  }

  /** Ends the session with a fault, once what is being written is written. */
  private void end(FaultException fault) {
    synchronized (lock) {
      broken = fault;
    }
    wake();
  }

  /** Lets what waits be written soon. */
  void wake() {
    if (!isAwake.getAndSet(true)) {
      host.writer().execute(this::write);
    }
  }

  private void write() {
    isAwake.set(false); // what comes from here on wakes it again
    if (closed) {
      return;
    }
    FaultException fault;
    synchronized (lock) {
      fault = broken;
    }
    if (fault != null) {
      to.onError(fault.asStatus());
      lost();
      return;
    }
    while (to.isReady()) {
      SessionResponse response = next();
      if (response == null) {
        break;
      }
      to.onNext(response);
    }
    if (isOver()) {
      to.onCompleted();
      lost();
    }
  }

  /**
   * The message that leaves now; null if nothing waits. All that goes into it counts, and none has
   * more than a mebibyte, unless a single result has: that goes without anything else.
   */
  private SessionResponse next() {
    synchronized (lock) {
      if (hello == null) {
        return null;
      }
    }
    int credits = sessions.renew(this);
    synchronized (lock) {
      SessionResponse.Builder response = SessionResponse.newBuilder();
      if (!welcomed) {
        welcomed = true;
        return response.setHello(hello).setCredits(Math.max(0, credits)).build();
      }
      boolean drains = credits == Sessions.NONE_SINCE_IT_DRAINS && !saidDrain;
      if (credits <= 0
          && !drains
          && results.isEmpty()
          && accepted.isEmpty()
          && progress.isEmpty()) {
        return null;
      }
      response.setCredits(Math.max(0, credits));
      if (drains) {
        saidDrain = true;
        response.setDrain(Drain.newBuilder().setReason("shutdown"));
      }
      int room = addResults(response);
      for (Iterator<Long> begun = accepted.iterator(); begun.hasNext() && room >= RECEIPT_BYTES; ) {
        room -= RECEIPT_BYTES;
        response.addAccepted(begun.next());
        begun.remove();
      }
      for (Iterator<Progress> said = progress.values().iterator(); said.hasNext(); ) {
        Progress one = said.next();
        room -= one.getSerializedSize() + OVERHEAD;
        if (room < 0) {
          break;
        }
        response.addProgress(one);
        said.remove();
      }
      return response.build();
    }
  }

  /**
   * As many results as fit, and what a failed call said for its next attempt; returns how many
   * bytes are left.
   */
  private int addResults(SessionResponse.Builder response) {
    int room = FRAME_BYTES;
    while (!results.isEmpty()) {
      InvocationResult result = results.peek();
      Progress last = progress.get(result.getCallId());
      int size = result.getSerializedSize() + OVERHEAD;
      size += last == null ? 0 : last.getSerializedSize() + OVERHEAD;
      if (size > room && response.getResultsCount() > 0) {
        break;
      }
      room -= size;
      response.addResults(results.remove());
      if (last != null) {
        response.addProgress(last);
        progress.remove(result.getCallId());
      }
    }
    return room;
  }

  private boolean isOver() {
    synchronized (lock) {
      return hello != null && calls.isEmpty() && results.isEmpty() && (halfClosed || saidDrain);
    }
  }

  /** Takes back what still runs for a caller that is gone. */
  private void lost() {
    List<RunningCall> left;
    synchronized (lock) {
      if (closed) {
        return;
      }
      closed = true;
      left = calls.values().stream().filter(Objects::nonNull).toList();
    }
    helloTimer.cancel(false);
    sessions.leave(this);
    left.forEach(host::cancel);
  }
}
