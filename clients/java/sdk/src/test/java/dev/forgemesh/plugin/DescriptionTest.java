package dev.forgemesh.plugin;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.annotation.JsonProperty;
import dev.forgemesh.Json;
import dev.forgemesh.api.plugin.v1.Idempotency;
import dev.forgemesh.api.plugin.v1.Manifest;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;

class DescriptionTest {
  /** How the shop is set up. */
  public record Config(int limit, Optional<String> currency) {}

  /** What is ordered. */
  public record Order(
      @JsonProperty("article_id") String article, List<Integer> numbers, Optional<Order> before) {}

  /** A plugin that says everything. */
  @Plugin(
      id = "shop.stock",
      version = "2.1.0",
      description = "Knows what is in store.",
      provides = "shop.reservable@1.0.0",
      requires = {
        @Requires(plugin = "shop.prices", versions = "^1"),
        @Requires(provider = "shop.clock", optional = true)
      },
      metadata = "team=shop")
  public static class Stock implements Configurable<Config> {
    private Config config;

    @Operation(
        repeated = Repeated.HARMFUL,
        timeoutSeconds = 2.5,
        description = "Sets an article aside.")
    public Map<String, Integer> reserve(Order order, Call call) {
      return Map.of();
    }

    @Operation
    public void forget() {}

    @Override
    public void configure(Config config) {
      this.config = config;
    }
  }

  @Test
  void aManifestSaysWhatTheAnnotationsSay() {
    Manifest manifest = Description.of(new Stock()).manifest();

    assertEquals("shop.reservable", manifest.getProvides(0).getName());
    assertEquals("1.0.0", manifest.getProvides(0).getVersion());
    assertEquals("shop.prices", manifest.getDependencies(0).getPluginId());
    assertEquals("^1", manifest.getDependencies(0).getVersionRange());
    assertEquals("shop.clock", manifest.getDependencies(1).getInterfaceName());
    assertTrue(manifest.getDependencies(1).getOptional());
    assertEquals(16, manifest.getMaxConcurrency());
    assertEquals(Map.of("team", "shop"), manifest.getMetadataMap());
    assertEquals(
        List.of("forget", "reserve"),
        manifest.getOperationsList().stream().map(operation -> operation.getName()).toList());
    assertEquals(
        Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT, manifest.getOperations(1).getIdempotency());
    assertEquals(2, manifest.getOperations(1).getTimeout().getSeconds());
    assertEquals(500_000_000, manifest.getOperations(1).getTimeout().getNanos());
  }

  @Test
  void schemasFollowFromTheTypes() {
    Manifest manifest = Description.of(new Stock()).manifest();
    JsonNode input = Json.mapper().readTree(manifest.getOperations(1).getInputSchema());

    JsonNode order = input.has("$ref") ? input.path("$defs").path("Order") : input;
    assertEquals(
        List.of("article_id", "before", "numbers"),
        order.path("properties").propertyNames().stream().sorted().toList());
    assertEquals(
        List.of("article_id", "numbers"),
        order.path("required").valueStream().map(JsonNode::asString).sorted().toList());
    assertEquals("", manifest.getOperations(0).getInputSchema());
  }

  @Test
  void aConfigurationTakesNoUnknownKey() {
    JsonNode schema =
        Json.mapper().readTree(Description.of(new Stock()).manifest().getConfigSchema());

    assertEquals("false", schema.path("additionalProperties").toString());
    assertEquals("[\"limit\"]", schema.path("required").toString());
  }

  @Test
  void aConfigurationThatDoesNotFitIsRefusedWithItsPlace() throws Exception {
    Stock plugin = new Stock();
    Description description = Description.of(plugin);

    Exception refused =
        assertThrows(
            IllegalArgumentException.class, () -> description.configure("{\"limit\":\"many\"}"));
    description.configure("{\"limit\":3}");

    assertTrue(refused.getMessage().startsWith("$.limit: "), refused.getMessage());
    assertEquals(new Config(3, Optional.empty()), plugin.config);
  }
}
