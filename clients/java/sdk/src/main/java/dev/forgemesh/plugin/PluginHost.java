package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.api.registry.v1.Instance;
import dev.forgemesh.api.registry.v1.InstanceState;
import dev.forgemesh.api.supervisor.v1.AttachRequest;
import dev.forgemesh.api.supervisor.v1.HostPhase;
import dev.forgemesh.api.supervisor.v1.HostReady;
import dev.forgemesh.api.supervisor.v1.Initialize;
import dev.forgemesh.api.supervisor.v1.SavedState;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/** Serves a plugin, in the way that its environment asks for. */
public final class PluginHost implements AutoCloseable {
  private static final int EXIT_CANNOT_START = 1;

  /** What the answers of finished calls have to leave the process. */
  private static final Duration LAST_RESPONSES = Duration.ofMillis(500);

  private static final Duration FAREWELL = Duration.ofSeconds(1);
  private static final System.Logger LOG = System.getLogger(PluginHost.class.getName());

  private final Settings settings;
  private final CompletableFuture<Void> stop = new CompletableFuture<>();
  private final CompletableFuture<Ports> serving = new CompletableFuture<>();
  private final CompletableFuture<Void> ended = new CompletableFuture<>();

  private PluginHost(Settings settings) {
    this.settings = settings;
  }

  /**
   * Serves the plugin as the environment says, until the process is told to end (SIGTERM, SIGINT)
   * or its supervisor is gone, and ends the process. What keeps it from serving is written to
   * standard error, and the process ends with 1.
   */
  public static void run(Object plugin) {
    try {
      PluginHost host = start(plugin);
      Signals.onEnd(host::stop);
      if (!host.settings.reattach()) { // else another parent is going to be found
        Parent.onLoss(System.getenv("FORGEMESH_PARENT_FD"), host::stop);
      }
      host.await();
    } catch (UnservableException | IllegalArgumentException refused) {
      System.err.println("error: " + refused.getMessage());
      System.exit(EXIT_CANNOT_START);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
    System.exit(0);
  }

  private static PluginHost start(Object plugin) {
    try {
      Description description = Description.of(plugin);
      return start(description, null, Settings.of(System.getenv(), description.id()));
    } catch (IllegalArgumentException mistakes) {
      Settings settings = Settings.of(System.getenv(), "plugin");
      return start(
          null,
          new UnservableException(HostPhase.HOST_PHASE_HANDSHAKE, mistakes.getMessage(), mistakes),
          settings);
    }
  }

  /**
   * Serves a plugin inside a program that does more than that, until it is closed.
   *
   * @throws IllegalArgumentException with every mistake in the plugin's annotations
   */
  public static PluginHost start(Object plugin, Settings settings) {
    return start(Description.of(plugin), null, settings);
  }

  private static PluginHost start(
      Description plugin, UnservableException mistakes, Settings settings) {
    PluginHost host = new PluginHost(settings);
    new Thread(() -> host.live(plugin, mistakes), "host").start();
    return host;
  }

  /** Where calls go (host:port); waits until it serves. */
  public String address() throws UnservableException, InterruptedException {
    return settled().address();
  }

  /** Where health and load are asked for (host:port); waits until it serves. */
  public String healthAddress() throws UnservableException, InterruptedException {
    return settled().healthAddress();
  }

  /** Asks it to end; what runs has the grace of the settings. */
  public void stop() {
    stop.complete(null);
  }

  /** Waits until it has ended; throws what kept it from serving. */
  public void await() throws UnservableException, InterruptedException {
    got(ended);
  }

  /** Stops it and waits for its end. */
  @Override
  public void close() throws UnservableException {
    stop();
    try {
      await();
    } catch (InterruptedException hurried) {
      Thread.currentThread().interrupt();
    }
  }

  private Ports settled() throws UnservableException, InterruptedException {
    return got(serving);
  }

  private static <T> T got(CompletableFuture<T> future)
      throws UnservableException, InterruptedException {
    try {
      return future.get();
    } catch (java.util.concurrent.ExecutionException thrown) {
      if (thrown.getCause() instanceof UnservableException known) {
        throw known;
      }
      throw new CompletionException(thrown.getCause());
    }
  }

  private void live(Description plugin, UnservableException mistakes) {
    try {
      if (!settings.supervisor().isEmpty()) {
        liveAttached(plugin, mistakes);
      } else if (mistakes != null) {
        throw mistakes;
      } else {
        serve(
            plugin,
            Lifecycle.begin(plugin, configuration(), 0, SavedState.getDefaultInstance()),
            null);
      }
      ended.complete(null);
      serving.completeExceptionally(
          new UnservableException(
              HostPhase.HOST_PHASE_UNSPECIFIED, "it was stopped before it served", null));
    } catch (Throwable thrown) {
      ended.completeExceptionally(thrown);
      serving.completeExceptionally(thrown);
    }
  }

  private String configuration() throws UnservableException {
    try {
      return settings.config().isEmpty() ? "" : Files.readString(Path.of(settings.config()));
    } catch (IOException unreadable) {
      throw new UnservableException(
          HostPhase.HOST_PHASE_CONFIG,
          "FORGEMESH_HOST_CONFIG: cannot read " + unreadable.getMessage(),
          unreadable);
    }
  }

  private void liveAttached(Description plugin, UnservableException mistakes)
      throws UnservableException, InterruptedException {
    Attachment attachment = new Attachment(settings, plugin == null ? null : plugin.manifest());
    try {
      Initialize initialize = attachment.initialized(stop, mistakes);
      if (initialize != null) {
        Lifecycle run =
            Lifecycle.begin(
                plugin,
                initialize.getConfig(),
                initialize.getConfigRevision(),
                initialize.getState());
        serve(plugin, run, attachment);
      }
    } catch (UnservableException failed) {
      attachment.fail(failed);
      throw failed;
    } finally {
      attachment.close(FAREWELL);
    }
  }

  /** Opens the ports, registers, and goes on until it is stopped or is not wanted. */
  private void serve(Description plugin, Lifecycle run, Attachment attachment)
      throws UnservableException, InterruptedException {
    Identity identity = new Identity(settings.instanceId());
    Spans spans =
        new Spans(
            plugin, identity, settings.traces(), System.getenv("OTEL_EXPORTER_OTLP_ENDPOINT"));
    Host host = new Host(plugin, identity, settings.queue(), spans);
    LoadMeter load = new LoadMeter(host);
    boolean endIsTold = attachment != null && !settings.registry().isEmpty();
    PluginService service = new PluginService(host, endIsTold);
    Ports ports = opened(service, load);
    Registration registration = null;
    try {
      Runnable tellReady = () -> tellReady(attachment, ports, identity, run);
      registration = registered(host, ports, load, tellReady);
      if (!stop.isDone()) {
        ports.ready(true);
        LOG.log(
            Level.INFO,
            "serving, address={0} instance_id={1} incarnation={2}",
            ports.address(),
            identity.instanceId(),
            Long.toUnsignedString(identity.incarnation()));
        serving.complete(ports);
        tellReady.run();
        if (attachment != null) {
          attachment.obey(run);
          host.timers()
              .scheduleAtFixedRate(
                  () -> attachment.say(AttachRequest.newBuilder().setLoad(load.report())),
                  1,
                  1,
                  TimeUnit.SECONDS);
        }
      }
      boolean orphaned = untilUnwanted(attachment, registration);
      leave(host, ports, service, registration, orphaned ? LAST_RESPONSES : settings.grace());
      if (registration != null && registration.hopeless().isDone()) {
        throw unregistrable(registration.hopeless().join(), HostPhase.HOST_PHASE_SERVING);
      }
    } finally {
      run.end();
      if (registration != null) {
        registration.close();
      }
      spans.close(FAREWELL);
      ports.close(LAST_RESPONSES);
      host.close();
    }
  }

  private Ports opened(PluginService service, LoadMeter load) throws UnservableException {
    try {
      return new Ports(settings, service, load);
    } catch (IOException refused) {
      throw new UnservableException(
          HostPhase.HOST_PHASE_INIT,
          "cannot listen on %s: %s".formatted(settings.listen(), refused.getMessage()),
          refused);
    }
  }

  private static void tellReady(
      Attachment attachment, Ports ports, Identity identity, Lifecycle run) {
    if (attachment != null) {
      attachment.serving(
          HostReady.newBuilder()
              .setAddress(ports.address())
              .setHealthAddress(ports.healthAddress())
              .setIncarnation(identity.incarnation())
              .setConfigRevision(run.revision())
              .build());
    }
  }

  /**
   * Waits for the first registration, or for what keeps the host from it; null without a registry.
   */
  private Registration registered(Host host, Ports ports, LoadMeter load, Runnable onIncarnation)
      throws UnservableException {
    if (settings.registry().isEmpty()) {
      return null;
    }
    Registration registration =
        new Registration(host, instance(host, ports), load, settings, onIncarnation);
    CompletableFuture.anyOf(registration.first(), registration.hopeless(), stop).join();
    if (registration.hopeless().isDone()) {
      registration.close();
      throw unregistrable(registration.hopeless().join(), HostPhase.HOST_PHASE_HEALTH);
    }
    return registration;
  }

  private UnservableException unregistrable(FaultException refusal, HostPhase phase) {
    return new UnservableException(
        phase,
        "cannot register %s at %s: %s"
            .formatted(settings.instanceId(), settings.registry(), refusal.getMessage()),
        refusal);
  }

  private Instance instance(Host host, Ports ports) {
    Instance.Builder instance =
        Instance.newBuilder()
            .setInstanceId(settings.instanceId())
            .setPluginId(host.plugin().id())
            .setPluginVersion(host.plugin().manifest().getVersion())
            .setAddress(ports.address())
            .setHealthAddress(ports.healthAddress())
            .setMaxInFlight(host.capacity())
            .setWeight(host.plugin().manifest().getWeight())
            .setSession(true)
            .setState(InstanceState.INSTANCE_STATE_ACTIVE)
            .putLabels("pid", Long.toString(ProcessHandle.current().pid()))
            .putLabels("host", Settings.hostName())
            .putLabels("sdk", Attachment.SDK);
    if (!settings.name().isEmpty()) {
      instance.putLabels("name", settings.name());
    }
    if (!settings.tenure().isEmpty()) {
      instance.putLabels("tenure", settings.tenure());
    }
    return instance.build();
  }

  /**
   * Returns once it is stopped or cannot be registered any more; true if its supervisor is gone.
   */
  private boolean untilUnwanted(Attachment attachment, Registration registration) {
    CompletableFuture<?> never = new CompletableFuture<>();
    CompletableFuture<?> gone = attachment == null ? never : attachment.gone();
    CompletableFuture<?> hopeless = registration == null ? never : registration.hopeless();
    CompletableFuture.anyOf(stop, gone, hopeless).join();
    if (!gone.isDone() || stop.isDone()) {
      return false;
    }
    LOG.log(Level.WARNING, "this host ends: {0}", gone.join());
    Parent.endSoon();
    return true;
  }

  /** Says that nothing new is to come, then lets what runs end. */
  private static void leave(
      Host host, Ports ports, PluginService service, Registration registration, Duration grace)
      throws InterruptedException {
    ports.ready(false);
    if (registration != null) {
      registration.leave(true);
    }
    service.sessions().drain();
    if (!host.drain(grace)) {
      LOG.log(Level.WARNING, "calls still run after the grace of {0}, cutting them off", grace);
    }
    if (registration != null) {
      registration.leave(false);
    }
  }
}
