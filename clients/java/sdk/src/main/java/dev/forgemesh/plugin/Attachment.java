package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.api.plugin.v1.Manifest;
import dev.forgemesh.api.supervisor.v1.AttachHello;
import dev.forgemesh.api.supervisor.v1.AttachRequest;
import dev.forgemesh.api.supervisor.v1.AttachResponse;
import dev.forgemesh.api.supervisor.v1.HostFailed;
import dev.forgemesh.api.supervisor.v1.HostPhase;
import dev.forgemesh.api.supervisor.v1.HostReady;
import dev.forgemesh.api.supervisor.v1.Initialize;
import dev.forgemesh.api.supervisor.v1.SupervisorServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The host's place at its supervisor: introduced, initialised, ready, and from then on at its
 * service. The stream is opened again when it breaks.
 */
final class Attachment {
  static final String SDK = "forgemesh-java/0.1.0";
  private static final int PROTOCOL = 1;
  private static final Duration WELCOME_DEADLINE = Duration.ofSeconds(10);
  private static final Duration LONGEST_BACKOFF = Duration.ofSeconds(1);
  private static final Duration EVER = Duration.ofDays(36_500);
  private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

  /** The supervisor does not want this process, and asking again changes nothing. */
  private static final Set<Status.Code> FINAL =
      Set.of(
          Status.Code.PERMISSION_DENIED,
          Status.Code.FAILED_PRECONDITION,
          Status.Code.UNIMPLEMENTED,
          Status.Code.INVALID_ARGUMENT);

  private static final System.Logger LOG = System.getLogger(Attachment.class.getName());

  private final Settings settings;
  private final Manifest manifest;
  private final BlockingQueue<AttachResponse> heard = new LinkedBlockingQueue<>();
  private final CompletableFuture<String> gone = new CompletableFuture<>();
  private final CountDownLatch closed = new CountDownLatch(1);
  private Line line;
  private HostReady ready;

  /** The manifest is null if the plugin cannot say one. */
  Attachment(Settings settings, Manifest manifest) {
    this.settings = settings;
    this.manifest = manifest;
    Host.daemons("supervisor").newThread(this::keep).start();
  }

  /** Done with why the supervisor is gone for good. */
  CompletableFuture<String> gone() {
    return gone;
  }

  /**
   * Waits, for as long as it takes, until everything that the plugin needs serves; null if it is
   * stopped meanwhile. What keeps the plugin from that, which may be null, is thrown.
   */
  Initialize initialized(CompletableFuture<Void> stop, UnservableException mistakes)
      throws InterruptedException, UnservableException {
    if (mistakes != null) {
      throw mistakes;
    }
    while (!stop.isDone()) {
      if (gone.isDone()) {
        throw new UnservableException(HostPhase.HOST_PHASE_HANDSHAKE, gone.join(), null);
      }
      AttachResponse said = heard.poll(LOOK_NANOS, TimeUnit.NANOSECONDS);
      if (said == null) {
        continue;
      }
      if (said.hasWelcome() && said.getWelcome().getProtocol() != PROTOCOL) {
        throw new UnservableException(
            HostPhase.HOST_PHASE_HANDSHAKE,
            "the supervisor at %s speaks protocol %d, this host %d"
                .formatted(address(), said.getWelcome().getProtocol(), PROTOCOL),
            null);
      }
      if (said.hasInitialize()) {
        return said.getInitialize();
      }
    }
    return null;
  }

  /** Says that the host serves: now, and each time the stream is opened again. */
  void serving(HostReady now) {
    synchronized (this) {
      ready = now;
    }
    say(AttachRequest.newBuilder().setReady(now));
  }

  /** Says that the host cannot go on. */
  void fail(UnservableException why) {
    say(
        AttachRequest.newBuilder()
            .setFailed(
                HostFailed.newBuilder()
                    .setPhase(why.phase())
                    .setReason(Failures.cut(why.getMessage()))));
  }

  /** Does what the supervisor asks of the running plugin, from now on. */
  void obey(Lifecycle run) {
    Host.daemons("obedience").newThread(() -> obeyUntilClosed(run)).start();
  }

  private void obeyUntilClosed(Lifecycle run) {
    try {
      while (closed.getCount() > 0) {
        AttachResponse said = heard.take();
        if (said.hasConfigure()) {
          say(AttachRequest.newBuilder().setConfigured(run.configure(said.getConfigure())));
        } else if (said.hasSaveState()) {
          say(AttachRequest.newBuilder().setState(run.save(said.getSaveState())));
        }
      }
    } catch (InterruptedException ended) {
      Thread.currentThread().interrupt();
    }
  }

  /** Sends something; what is said while the stream is broken is lost. */
  synchronized void say(AttachRequest.Builder request) {
    if (line != null) {
      line.say(request.build());
    }
  }

  /** Lets what was said leave, for so long at most, and hangs up. */
  void close(Duration within) throws InterruptedException {
    Line open;
    synchronized (this) {
      closed.countDown();
      open = line;
      line = null;
    }
    if (open != null) {
      open.hangUp(within);
    }
  }

  private void keep() {
    Duration patience = settings.reattach() ? settings.reattachFor() : EVER;
    long heardAt = System.nanoTime();
    boolean welcomed = false;
    for (int failures = 0; closed.getCount() > 0; failures++) {
      Line one = converse();
      if (closed.getCount() == 0) {
        return;
      }
      if (one.wasHeard()) {
        heardAt = System.nanoTime();
        welcomed = true;
        failures = 0;
      }
      FaultException broken = FaultException.of(one.ended.join());
      Duration bound = welcomed ? patience : WELCOME_DEADLINE;
      if (FINAL.contains(broken.code()) || System.nanoTime() - heardAt > bound.toNanos()) {
        gone.complete("the supervisor at %s is gone: %s".formatted(address(), broken.getMessage()));
        return;
      }
      if (failures == 0) {
        LOG.log(
            Level.WARNING,
            "the stream to the supervisor broke, opening it again: {0}",
            broken.getMessage());
      }
      try {
        closed.await(Backoff.nanos(failures, LONGEST_BACKOFF), TimeUnit.NANOSECONDS);
      } catch (InterruptedException ended) {
        return;
      }
    }
  }

  /** Keeps one stream until it breaks. */
  private Line converse() {
    ManagedChannel channel =
        Grpc.newChannelBuilder(address(), InsecureChannelCredentials.create()).build();
    Line one = new Line(channel, heard);
    try {
      synchronized (this) {
        if (closed.getCount() == 0) {
          one.ended.complete(Status.CANCELLED.asRuntimeException());
          return one;
        }
        one.say(AttachRequest.newBuilder().setHello(hello()).build());
        line = one;
      }
      one.untilItEnds(WELCOME_DEADLINE);
      return one;
    } finally {
      synchronized (this) {
        line = line == one ? null : line;
      }
      channel.shutdownNow();
    }
  }

  private AttachHello hello() {
    AttachHello.Builder hello =
        AttachHello.newBuilder()
            .setToken(settings.token())
            .setInstanceId(settings.instanceId())
            .setPid(ProcessHandle.current().pid())
            .setProtocolMin(PROTOCOL)
            .setProtocolMax(PROTOCOL)
            .setSdk(SDK);
    if (manifest != null) {
      hello.setManifest(manifest);
    }
    if (ready != null) {
      hello.setReady(ready);
    }
    return hello.build();
  }

  /** That of the supervisor that is there now: one that was started anew may listen elsewhere. */
  private String address() {
    if (!settings.supervisorFile().isEmpty()) {
      try {
        return Files.readString(Path.of(settings.supervisorFile())).strip();
      } catch (IOException none) {
        // then it is where it was
      }
    }
    return settings.supervisor();
  }

  /** One stream. */
  private static final class Line implements StreamObserver<AttachResponse> {
    private final BlockingQueue<AttachResponse> heard;
    private final StreamObserver<AttachRequest> requests;
    private final AtomicBoolean anything = new AtomicBoolean();
    private final CountDownLatch firstWord = new CountDownLatch(1);
    private final CompletableFuture<StatusRuntimeException> ended = new CompletableFuture<>();

    Line(ManagedChannel channel, BlockingQueue<AttachResponse> heard) {
      this.heard = heard;
      this.requests = SupervisorServiceGrpc.newStub(channel).attach(this);
    }

    void say(AttachRequest request) {
      if (!ended.isDone()) {
        requests.onNext(request);
      }
    }

    boolean wasHeard() {
      return anything.get();
    }

    void untilItEnds(Duration firstWithin) {
      try {
        if (!firstWord.await(firstWithin.toNanos(), TimeUnit.NANOSECONDS)) {
          ended.complete(
              Status.DEADLINE_EXCEEDED.withDescription("it says nothing").asRuntimeException());
        }
        ended.join();
      } catch (InterruptedException interrupted) {
        ended.complete(Status.CANCELLED.asRuntimeException());
      }
    }

    /** The supervisor ends the stream when it has heard all of it. */
    void hangUp(Duration within) throws InterruptedException {
      requests.onCompleted();
      try {
        ended.get(within.toNanos(), TimeUnit.NANOSECONDS);
      } catch (java.util.concurrent.ExecutionException
          | java.util.concurrent.TimeoutException late) {
        ended.complete(Status.CANCELLED.asRuntimeException());
      }
    }

    @Override
    public void onNext(AttachResponse said) {
      anything.set(true);
      firstWord.countDown();
      if (!said
          .hasSuspects()) { // this host keeps no record of running calls, and has none to run alone
        heard.add(said);
      }
    }

    @Override
    public void onError(Throwable thrown) {
      ended.complete(
          Status.fromThrowable(thrown).asRuntimeException(Status.trailersFromThrowable(thrown)));
      firstWord.countDown();
    }

    @Override
    public void onCompleted() {
      ended.complete(
          Status.UNAVAILABLE.withDescription("it ended the stream").asRuntimeException());
      firstWord.countDown();
    }
  }
}
