package conformance;

import com.fasterxml.jackson.annotation.JsonProperty;
import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.plugin.Call;
import dev.forgemesh.plugin.Configurable;
import dev.forgemesh.plugin.Operation;
import dev.forgemesh.plugin.Plugin;
import dev.forgemesh.plugin.PluginHost;
import dev.forgemesh.plugin.Repeated;
import io.grpc.Status;
import io.opentelemetry.api.GlobalOpenTelemetry;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;

/** The conformance plugin in Java: what it does is said in tests/languages/README.md. */
@Plugin(id = "conformance.java", version = "1.0.0", maxConcurrency = 4)
public final class Conformance implements Configurable<Conformance.Config> {
  /** How it greets. */
  public record Config(Optional<String> greeting) {}

  /** Every kind of number. */
  public record Numbers(
      long signed, BigInteger unsigned, double fraction, String text, boolean flag) {}

  /** How to fail. */
  public record Failing(
      int code, String reason, String message, boolean retryable, Map<String, String> metadata) {}

  /** Where to note what happens. */
  public record Ledger(String ledger) {}

  /** How much to write. */
  public record Sized(int bytes) {}

  /** What the last attempt was at. */
  public record At(long at) {}

  /** What a call knows. */
  public record Seen(
      String namespace,
      @JsonProperty("execution_id") String executionId,
      @JsonProperty("step_path") String stepPath,
      int attempt,
      @JsonProperty("idempotency_key") String idempotencyKey,
      String traceparent,
      @JsonProperty("has_deadline") boolean hasDeadline,
      String greeting) {}

  private volatile String greeting = "";

  @Override
  public void configure(Config config) {
    if (config.greeting().equals(Optional.of("rude"))) {
      throw new IllegalArgumentException("nobody is greeted like that");
    }
    greeting = config.greeting().orElse("");
  }

  @Operation(repeated = Repeated.HARMLESS)
  public Payload echo(Payload in) {
    return in;
  }

  @Operation(repeated = Repeated.HARMLESS)
  public Numbers numbers(Numbers in) {
    return in;
  }

  @Operation
  public int fail(Failing in) {
    FaultException fault =
        FaultException.failed(in.reason(), in.message())
            .withCode(Status.fromCodeValue(in.code()).getCode());
    for (Map.Entry<String, String> fact : in.metadata().entrySet()) {
      fault = fault.with(fact.getKey(), fact.getValue());
    }
    throw in.retryable() ? fault.thatMayBeRetried() : fault;
  }

  @Operation
  public int broken() {
    throw new IllegalStateException("as it was asked to");
  }

  @Operation
  public int wait(Ledger in) throws IOException, InterruptedException {
    note(in, "begun");
    try {
      new CountDownLatch(1).await();
      return 0;
    } finally {
      note(in, "cancelled");
    }
  }

  @Operation
  public String slow(Ledger in) throws IOException, InterruptedException {
    note(in, "begun");
    while (!Files.exists(Path.of(in.ledger() + ".go"))) {
      Thread.sleep(5);
    }
    return "done";
  }

  @Operation(repeated = Repeated.HARMLESS)
  public int exit(Call call) {
    if (call.attempt() == 1) {
      System.exit(9);
    }
    return call.attempt();
  }

  @Operation(repeated = Repeated.HARMLESS)
  public Seen context(Call call) {
    GlobalOpenTelemetry.getTracer("conformance").spanBuilder("own").startSpan().end();
    return new Seen(
        call.namespace(),
        call.executionId(),
        call.stepPath(),
        call.attempt(),
        call.idempotencyKey(),
        call.traceparent(),
        call.remaining().isPresent(),
        greeting);
  }

  @Operation
  public Payload resume(Call call) {
    if (call.details().isEmpty()) {
      call.progress(0.5, "half", new At((1L << 53) + 1));
      throw FaultException.failed("NOT_YET", "once more")
          .withCode(Status.Code.ABORTED)
          .thatMayBeRetried();
    }
    return call.details().get();
  }

  @Operation
  public String fill(Sized in) {
    return "x".repeat(in.bytes());
  }

  private static void note(Ledger in, String word) throws IOException {
    Files.writeString(
        Path.of(in.ledger()), word + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
  }

  public static void main(String[] arguments) {
    PluginHost.run(new Conformance());
  }
}
