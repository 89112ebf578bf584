package dev.forgemesh.client;

import dev.forgemesh.Payload;
import dev.forgemesh.api.orchestrator.v1.IdConflictPolicy;
import dev.forgemesh.api.orchestrator.v1.IdReusePolicy;
import dev.forgemesh.api.orchestrator.v1.Signal;
import dev.forgemesh.api.orchestrator.v1.StartExecutionRequest;

/** Says more about an execution that is to start. */
public final class StartOptions {
  private final StartExecutionRequest.Builder request = StartExecutionRequest.newBuilder();

  /** Nothing more. */
  public static StartOptions none() {
    return new StartOptions();
  }

  /**
   * Names the request: a repetition with the same id gets the same execution and starts nothing.
   */
  public StartOptions requestId(String id) {
    request.setRequestId(id);
    return this;
  }

  /** Names the execution: 1 to 200 letters, digits, ".", "_" or "-". Without it one is made up. */
  public StartOptions executionId(String id) {
    request.setExecutionId(id);
    return this;
  }

  /** The version of the workflow; without it the highest one is started. */
  public StartOptions version(String version) {
    request.setWorkflowVersion(version);
    return this;
  }

  /**
   * Executions with a higher one go first where they compete for an instance, from -1000 to 1000.
   */
  public StartOptions priority(int priority) {
    request.setPriority(priority);
    return this;
  }

  /** Nothing of it runs until it is resumed. */
  public StartOptions paused() {
    request.setPaused(true);
    return this;
  }

  /** Whether the id of an execution that has ended may be used again. */
  public StartOptions idReuse(IdReusePolicy policy) {
    request.setIdReusePolicy(policy);
    return this;
  }

  /** What to do if an execution of the same id is open. */
  public StartOptions idConflict(IdConflictPolicy policy) {
    request.setIdConflictPolicy(policy);
    return this;
  }

  /** Gives it a signal with its start; an id tells a repetition of the same signal. */
  public StartOptions signal(String name, Object value, String id) {
    request.setSignal(
        Signal.newBuilder().setName(name).setPayload(Payload.of(value).message()).setSignalId(id));
    return this;
  }

  StartExecutionRequest.Builder asked() {
    return request.clone();
  }
}
