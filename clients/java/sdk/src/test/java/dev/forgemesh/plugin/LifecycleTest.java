package dev.forgemesh.plugin;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Duration;
import dev.forgemesh.Payload;
import dev.forgemesh.api.supervisor.v1.Configure;
import dev.forgemesh.api.supervisor.v1.ConfigureResult;
import dev.forgemesh.api.supervisor.v1.HostPhase;
import dev.forgemesh.api.supervisor.v1.SaveState;
import dev.forgemesh.api.supervisor.v1.SavedState;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class LifecycleTest {
  /** What it is to count. */
  public record Config(String word) {}

  /** Notes what becomes of it. */
  @Plugin(id = "test.life", version = "1.0.0")
  public static class Life implements Configurable<Config>, Startable, Stateful, AutoCloseable {
    private final List<String> seen = new ArrayList<>();
    private Object state = List.of(1L << 60);

    @Operation
    public int nothing() {
      return 0;
    }

    @Override
    public void configure(Config config) throws InterruptedException {
      seen.add("configured " + config.word());
      if (config.word().equals("rude")) {
        throw new IllegalArgumentException("nobody is greeted like that");
      }
      if (config.word().equals("slow")) {
        new CountDownLatch(1).await();
      }
    }

    @Override
    public void start() {
      seen.add("started");
    }

    @Override
    public Object saveState() {
      return state;
    }

    @Override
    public void restoreState(Payload left, String version) {
      seen.add("restored " + left.data().toStringUtf8() + " of " + version);
    }

    @Override
    public void close() {
      seen.add("closed");
    }
  }

  private static SavedState left(String json) {
    return SavedState.newBuilder()
        .setPayload(Payload.ofJson(json).message())
        .setPluginVersion("0.9.0")
        .build();
  }

  private static String word(String word) {
    return "{\"word\":\"" + word + "\"}";
  }

  @Test
  void itIsConfiguredThenStartedThenGivenWhatWasLeft() throws Exception {
    Life plugin = new Life();

    Lifecycle.begin(Description.of(plugin), word("polite"), 1, left("[7]")).end();

    assertEquals(
        List.of("configured polite", "started", "restored [7] of 0.9.0", "closed"), plugin.seen);
  }

  @Test
  void aRefusedConfigurationLetsTheOneBeforeCount() throws Exception {
    Life plugin = new Life();
    Lifecycle run = Lifecycle.begin(Description.of(plugin), word("polite"), 1, left("[]"));

    ConfigureResult refused =
        run.configure(
            Configure.newBuilder().setConfig(word("rude")).setRevision(2).setRequest(5).build());

    assertEquals("nobody is greeted like that", refused.getRefusal());
    assertEquals(5, refused.getRequest());
    assertFalse(refused.getUnsettled());
    assertEquals(1, run.revision());
    assertEquals("configured polite", plugin.seen.get(plugin.seen.size() - 1));
  }

  @Test
  void aConfigurationThatTakesTooLongIsRefused() throws Exception {
    Lifecycle run = Lifecycle.begin(Description.of(new Life()), word("polite"), 1, left("[]"));

    ConfigureResult refused =
        run.configure(
            Configure.newBuilder()
                .setConfig(word("slow"))
                .setWithin(Duration.newBuilder().setNanos(200_000_000))
                .build());

    assertTrue(refused.getRefusal().contains("takes longer than 0.2 s"), refused.getRefusal());
  }

  @Test
  void aConfigurationThatIsTakenCounts() throws Exception {
    Lifecycle run = Lifecycle.begin(Description.of(new Life()), word("polite"), 1, left("[]"));

    ConfigureResult taken =
        run.configure(Configure.newBuilder().setConfig(word("hi")).setRevision(2).build());

    assertEquals("", taken.getRefusal());
    assertEquals(2, run.revision());
  }

  @Test
  void stateIsSavedExactlyAndWithinItsBound() throws Exception {
    Life plugin = new Life();
    Lifecycle run = Lifecycle.begin(Description.of(plugin), word("polite"), 1, left("[]"));

    SavedState saved = run.save(SaveState.newBuilder().setRequest(3).build());
    plugin.state = "x".repeat(4 << 20);
    SavedState tooLarge = run.save(SaveState.getDefaultInstance());

    assertEquals("[1152921504606846976]", saved.getPayload().getData().toStringUtf8());
    assertEquals("1.0.0", saved.getPluginVersion());
    assertEquals(3, saved.getRequest());
    assertTrue(tooLarge.getFailure().contains("a successor takes"), tooLarge.getFailure());
  }

  @Test
  void whatKeepsItFromServingSaysInWhichPhase() {
    UnservableException refused =
        assertThrows(
            UnservableException.class,
            () -> Lifecycle.begin(Description.of(new Life()), word("rude"), 1, left("[]")));

    assertEquals(HostPhase.HOST_PHASE_CONFIG, refused.phase());
    assertTrue(refused.getMessage().contains("nobody is greeted like that"), refused.getMessage());
  }
}
