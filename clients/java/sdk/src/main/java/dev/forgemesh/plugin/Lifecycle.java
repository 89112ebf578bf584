package dev.forgemesh.plugin;

import com.google.protobuf.util.Durations;
import dev.forgemesh.Payload;
import dev.forgemesh.api.supervisor.v1.Configure;
import dev.forgemesh.api.supervisor.v1.ConfigureResult;
import dev.forgemesh.api.supervisor.v1.HostPhase;
import dev.forgemesh.api.supervisor.v1.SaveState;
import dev.forgemesh.api.supervisor.v1.SavedState;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** A started plugin, as far as its supervisor changes it or asks it. */
final class Lifecycle {
  private static final long MOST_STATE = 3 << 20;
  private static final Duration CHANGE_TIMEOUT = Duration.ofSeconds(30);
  private static final System.Logger LOG = System.getLogger(Lifecycle.class.getName());

  private final Description plugin;
  private String config;
  private long revision;

  private Lifecycle(Description plugin, String config, long revision) {
    this.plugin = plugin;
    this.config = config;
    this.revision = revision;
  }

  /** Configures the plugin, starts it and gives it what its predecessor left. */
  static Lifecycle begin(Description plugin, String config, long revision, SavedState state)
      throws UnservableException {
    attempt(
        HostPhase.HOST_PHASE_CONFIG,
        "its configuration is refused",
        () -> plugin.configure(config));
    if (plugin.plugin() instanceof Startable startable) {
      attempt(HostPhase.HOST_PHASE_INIT, "it did not start", startable::start);
    }
    if (plugin.plugin() instanceof Stateful stateful && state.hasPayload()) {
      attempt(
          HostPhase.HOST_PHASE_INIT,
          "it did not take its predecessor's state",
          () -> stateful.restoreState(Payload.of(state.getPayload()), state.getPluginVersion()));
    }
    return new Lifecycle(plugin, config, revision);
  }

  /** Something of the author's. */
  private interface Action {
    void run() throws Exception;
  }

  private static void attempt(HostPhase phase, String refusal, Action action)
      throws UnservableException {
    try {
      action.run();
    } catch (Throwable thrown) { // whatever it is, it is the plugin's own
      throw new UnservableException(phase, refusal + ": " + said(thrown), thrown);
    }
  }

  synchronized long revision() {
    return revision;
  }

  /** Takes another configuration on, or says why not; then the one before counts again. */
  ConfigureResult configure(Configure asked) {
    ConfigureResult.Builder result =
        ConfigureResult.newBuilder()
            .setRevision(asked.getRevision())
            .setRequest(asked.getRequest());
    if (!(plugin.plugin() instanceof Configurable)) {
      return result.setNeedsRestart(true).build();
    }
    Duration within =
        asked.hasWithin() ? Duration.ofNanos(Durations.toNanos(asked.getWithin())) : CHANGE_TIMEOUT;
    String refusal = configured(asked.getConfig(), within);
    if (refusal.isEmpty()) {
      synchronized (this) {
        config = asked.getConfig();
        revision = asked.getRevision();
      }
      return result.build();
    }
    String before;
    synchronized (this) {
      before = config;
    }
    return result
        .setRefusal(Failures.cut(refusal))
        .setUnsettled(!configured(before, within).isEmpty())
        .build();
  }

  private String configured(String text, Duration within) {
    try {
      bounded(
          within,
          () -> {
            plugin.configure(text);
            return null;
          });
      return "";
    } catch (Exception refused) {
      return said(refused);
    }
  }

  /** What a successor begins with. */
  SavedState save(SaveState asked) {
    SavedState.Builder saved =
        SavedState.newBuilder()
            .setPluginVersion(plugin.manifest().getVersion())
            .setRequest(asked.getRequest());
    if (!(plugin.plugin() instanceof Stateful stateful)) {
      return saved.build();
    }
    Duration within =
        asked.hasWithin() ? Duration.ofNanos(Durations.toNanos(asked.getWithin())) : CHANGE_TIMEOUT;
    try {
      Object state = bounded(within, stateful::saveState);
      if (state == null) {
        return saved.build();
      }
      Payload payload = Payload.of(state);
      if (payload.size() > MOST_STATE) {
        throw new IllegalStateException(
            "its state has %d bytes, a successor takes %d".formatted(payload.size(), MOST_STATE));
      }
      return saved.setPayload(payload.message()).build();
    } catch (Exception failed) {
      return saved.setFailure(Failures.cut(said(failed))).build();
    }
  }

  /** Tells the plugin that its last call is over. */
  void end() {
    if (plugin.plugin() instanceof AutoCloseable closeable) {
      try {
        closeable.close();
      } catch (Exception failed) {
        LOG.log(Level.ERROR, "the plugin did not stop as it should", failed);
      }
    }
  }

  /**
   * Runs something of the author's for as long as it may take; what goes on is interrupted and left
   * alone.
   */
  private static <T> T bounded(Duration within, Callable<T> action) throws Exception {
    FutureTask<T> task = new FutureTask<>(action);
    Host.daemons("change").newThread(task).start();
    try {
      return task.get(within.toNanos(), TimeUnit.NANOSECONDS);
    } catch (TimeoutException late) {
      task.cancel(true);
      throw new TimeoutException("it takes longer than " + within.toMillis() / 1e3 + " s");
    } catch (ExecutionException thrown) {
      throw thrown.getCause() instanceof Exception known ? known : thrown;
    }
  }

  private static String said(Throwable thrown) {
    String message = thrown.getMessage();
    return thrown instanceof IllegalArgumentException && message != null
        ? message
        : thrown.toString();
  }
}
