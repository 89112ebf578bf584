package conformance;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import dev.forgemesh.FaultException;
import dev.forgemesh.Json;
import dev.forgemesh.Payload;
import dev.forgemesh.client.Client;
import dev.forgemesh.client.DeadlineException;
import dev.forgemesh.client.Events;
import dev.forgemesh.client.Execution;
import dev.forgemesh.client.ExecutionFailedException;
import dev.forgemesh.client.StartOptions;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Scope;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.JsonNode;

/** The conformance client in Java: what it does is said in tests/languages/README.md. */
public final class ConformanceClient {
  /** An answer. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  static final class Told {
    @JsonProperty JsonNode output;

    @JsonProperty("execution_id")
    String executionId;

    @JsonProperty("trace_id")
    String traceId;

    @JsonProperty List<Long> sequences;
    @JsonProperty String status;
    @JsonProperty Integer code;
    @JsonProperty String reason;
    @JsonProperty String message;
    @JsonProperty Map<String, String> metadata;
    @JsonProperty Boolean deadline;
  }

  private ConformanceClient() {}

  private static void act(Client mesh, JsonNode asked, Told told) {
    String action = asked.path("do").asString();
    Payload input = Payload.of(asked.path("input"));
    switch (action) {
      case "register" -> mesh.register(asked.path("source").asString());
      case "run", "start", "watch" -> {
        StartOptions options = StartOptions.none();
        if (asked.has("execution_id")) {
          options.executionId(asked.path("execution_id").asString());
        }
        if (asked.has("request_id")) {
          options.requestId(asked.path("request_id").asString());
        }
        Execution execution = mesh.start(asked.path("workflow").asString(), input, options);
        told.executionId = execution.id();
        told.traceId = execution.traceId();
        if (action.equals("watch")) {
          told.sequences = new ArrayList<>();
          try (Events events = execution.watch(1)) {
            events.forEach(event -> told.sequences.add(event.getSequence()));
          }
        }
        if (!action.equals("start")) {
          told.output = execution.result(JsonNode.class);
        }
      }
      case "signal", "cancel", "result" -> {
        Execution execution = mesh.execution(asked.path("execution_id").asString());
        told.executionId = execution.id();
        switch (action) {
          case "signal" ->
              execution.signal(
                  asked.path("signal").asString(), input, asked.path("request_id").asString());
          case "cancel" -> execution.cancel("asked to");
          default -> told.output = execution.result(JsonNode.class);
        }
      }
      default -> throw new IllegalArgumentException("cannot do " + action);
    }
  }

  private static Told answer(Client mesh, JsonNode asked) {
    Told told = new Told();
    Client bounded =
        mesh.within(Duration.ofMillis((long) (asked.path("seconds").asDouble(120) * 1000)));
    try (Scope scope = caller(asked.path("traceparent").asString("")).makeCurrent()) {
      act(bounded, asked, told);
    } catch (DeadlineException late) {
      told.deadline = true;
    } catch (ExecutionFailedException failed) {
      told.status = failed.status().name();
      failed.failure().ifPresent(fault -> say(fault, told));
    } catch (FaultException fault) {
      say(fault, told);
    } catch (RuntimeException thrown) {
      told.message = thrown.toString();
    }
    return told;
  }

  private static void say(FaultException fault, Told told) {
    told.code = fault.code().value();
    told.reason = fault.reason();
    told.message = fault.explanation();
    told.metadata = fault.metadata();
  }

  private static Span caller(String traceparent) {
    String[] parts = traceparent.split("-");
    return parts.length < 4
        ? Span.getInvalid()
        : Span.wrap(
            SpanContext.createFromRemoteParent(
                parts[1], parts[2], TraceFlags.getSampled(), TraceState.getDefault()));
  }

  public static void main(String[] arguments) throws IOException {
    BufferedReader requests =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    try (Client mesh = Client.connect()) {
      for (String line = requests.readLine(); line != null; line = requests.readLine()) {
        answers.println(
            Json.mapper().writeValueAsString(answer(mesh, Json.mapper().readTree(line))));
      }
    }
  }
}
