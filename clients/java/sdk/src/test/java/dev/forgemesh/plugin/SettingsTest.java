package dev.forgemesh.plugin;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class SettingsTest {
  @Test
  void aZeroThatIsSaidIsNotADefault() {
    Settings zero =
        Settings.of(
            Map.of("FORGEMESH_HOST_QUEUE_LIMIT", "0", "FORGEMESH_HOST_GRACE", "0"), "text.words");
    Settings none = Settings.of(Map.of(), "text.words");

    assertEquals(0, zero.queue());
    assertEquals(Duration.ZERO, zero.grace());
    assertEquals(64, none.queue());
    assertEquals(Duration.ofSeconds(5), none.grace());
    assertTrue(none.instanceId().startsWith("text.words-"), none.instanceId());
  }

  @Test
  void everyMistakeInTheEnvironmentIsTold() {
    Map<String, String> environment =
        Map.of(
            "FORGEMESH_HOST_QUEUE_LIMIT", "-1",
            "FORGEMESH_HOST_GRACE", "NaN",
            "FORGEMESH_HOST_REATTACH", "perhaps",
            "FORGEMESH_HOST_LISTEN", "0.0.0.0:1",
            "FORGEMESH_HOST_HEALTH_LISTEN", "nowhere",
            "FORGEMESH_HOST_LEASE_TTL", "0.5",
            "FORGEMESH_HOST_SUPERVISOR", "127.0.0.1:1",
            "FORGEMESH_HOST_OWNER_KEY_FILE", "/nowhere");

    String said =
        assertThrows(IllegalArgumentException.class, () -> Settings.of(environment, "text.words"))
            .getMessage();

    for (String mistake :
        List.of(
            "QUEUE_LIMIT",
            "GRACE",
            "REATTACH",
            "0.0.0.0:1",
            "nowhere",
            "lease_ttl",
            "needs a token",
            "OWNER_KEY_FILE")) {
      assertTrue(said.contains(mistake), said);
    }
  }
}
