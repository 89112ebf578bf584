package dev.forgemesh.client;

import dev.forgemesh.Payload;
import dev.forgemesh.api.orchestrator.v1.CancelExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.ExecutionStatus;
import dev.forgemesh.api.orchestrator.v1.GetExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.PauseExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.ResumeExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.Signal;
import dev.forgemesh.api.orchestrator.v1.SignalExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.TerminateExecutionRequest;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import tools.jackson.core.type.TypeReference;

/**
 * A started execution as its caller holds it. It runs on whether or not anybody holds a handle of
 * it.
 */
public final class Execution {
  private final Client client;
  private volatile dev.forgemesh.api.orchestrator.v1.Execution seen;

  Execution(Client client, dev.forgemesh.api.orchestrator.v1.Execution seen) {
    this.client = client;
    this.seen = seen;
  }

  /** Unique in its namespace. */
  public String id() {
    return seen.getExecutionId();
  }

  /**
   * Tells it from every other execution that has had, or will have, its id. All that is asked is
   * asked of this run.
   */
  public String runId() {
    return seen.getRunId();
  }

  /** The trace that all its spans belong to, 32 hex digits. */
  public String traceId() {
    return seen.getTraceId();
  }

  /** Where it stood when the mesh was last asked. */
  public dev.forgemesh.api.orchestrator.v1.Execution lastSeen() {
    return seen;
  }

  /** Where it stands now, with its steps. */
  public dev.forgemesh.api.orchestrator.v1.Execution describe() {
    GetExecutionRequest request =
        GetExecutionRequest.newBuilder()
            .setNamespace(seen.getNamespace())
            .setExecutionId(id())
            .setRunId(runId())
            .build();
    seen =
        client
            .repeated()
            .of(Client.CALL_DEADLINE, until -> client.stub(until).getExecution(request))
            .getExecution();
    return seen;
  }

  /**
   * Its events from a sequence number on, up to its last one, each exactly once and in order, over
   * any number of broken streams. Whoever leaves before the end closes it.
   */
  public Events watch(long from) {
    return new Events(client, seen, Math.max(1, from));
  }

  /** Waits for the end and reads the output; as a {@code Payload} it stays unread. */
  public <T> T result(Class<T> output) {
    return output().as(output);
  }

  /** Waits for the end and reads the output as a type with arguments. */
  public <T> T result(TypeReference<T> output) {
    return output().as(output);
  }

  /**
   * Gives it a signal; an id tells a repetition of the same signal, and lets the call wait for a
   * mesh that is away.
   */
  public void signal(String name, Object value, String id) {
    SignalExecutionRequest request =
        SignalExecutionRequest.newBuilder()
            .setNamespace(seen.getNamespace())
            .setExecutionId(id())
            .setRunId(runId())
            .setSignal(
                Signal.newBuilder()
                    .setName(name)
                    .setPayload(Payload.of(value).message())
                    .setSignalId(id))
            .build();
    new Repetition(client.deadline(), id.isEmpty() ? Duration.ZERO : client.patience())
        .of(Client.CALL_DEADLINE, until -> client.stub(until).signalExecution(request));
  }

  /** Stops it: what runs is taken back, then what it did is undone. */
  public void cancel(String reason) {
    CancelExecutionRequest request =
        CancelExecutionRequest.newBuilder()
            .setNamespace(seen.getNamespace())
            .setExecutionId(id())
            .setRunId(runId())
            .setBy(by())
            .setReason(reason)
            .build();
    client
        .repeated()
        .of(Client.CALL_DEADLINE, until -> client.stub(until).cancelExecution(request));
  }

  /** Ends it at once; nothing is undone. */
  public void terminate(String reason) {
    TerminateExecutionRequest request =
        TerminateExecutionRequest.newBuilder()
            .setNamespace(seen.getNamespace())
            .setExecutionId(id())
            .setRunId(runId())
            .setBy(by())
            .setReason(reason)
            .build();
    client
        .repeated()
        .of(Client.CALL_DEADLINE, until -> client.stub(until).terminateExecution(request));
  }

  /** Starts nothing new in it until it is resumed; what runs ends. */
  public void pause(String reason) {
    PauseExecutionRequest request =
        PauseExecutionRequest.newBuilder()
            .setNamespace(seen.getNamespace())
            .setExecutionId(id())
            .setRunId(runId())
            .setBy(by())
            .setReason(reason)
            .build();
    client.repeated().of(Client.CALL_DEADLINE, until -> client.stub(until).pauseExecution(request));
  }

  /** Lets it go on. */
  public void resume() {
    ResumeExecutionRequest request =
        ResumeExecutionRequest.newBuilder()
            .setNamespace(seen.getNamespace())
            .setExecutionId(id())
            .setRunId(runId())
            .setBy(by())
            .build();
    client
        .repeated()
        .of(Client.CALL_DEADLINE, until -> client.stub(until).resumeExecution(request));
  }

  private Payload output() {
    if (!isFinal(seen.getStatus()) || seen.getLeftOut()) {
      untilTheEnd();
    }
    if (seen.getStatus() != ExecutionStatus.EXECUTION_STATUS_SUCCEEDED) {
      throw new ExecutionFailedException(seen);
    }
    return Payload.of(seen.getOutput());
  }

  private void untilTheEnd() {
    while (!isFinal(describe().getStatus())) {
      try (Events events = watch(seen.getSequence() + 1)) {
        events.forEach(event -> {});
      }
    }
  }

  static boolean isFinal(ExecutionStatus status) {
    return switch (status) {
      case EXECUTION_STATUS_SUCCEEDED,
          EXECUTION_STATUS_FAILED,
          EXECUTION_STATUS_CANCELLED,
          EXECUTION_STATUS_TERMINATED,
          EXECUTION_STATUS_TIMED_OUT,
          EXECUTION_STATUS_COMPENSATED,
          EXECUTION_STATUS_COMPENSATION_FAILED ->
          true;
      default -> false;
    };
  }

  /** Who asks, for the history: the user of this process at its host. */
  private static String by() {
    String host;
    try {
      host = InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException nameless) {
      host = "somewhere";
    }
    return System.getProperty("user.name", "somebody") + "@" + host;
  }
}
