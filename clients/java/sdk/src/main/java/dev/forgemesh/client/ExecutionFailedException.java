package dev.forgemesh.client;

import dev.forgemesh.FaultException;
import dev.forgemesh.api.orchestrator.v1.Execution;
import dev.forgemesh.api.orchestrator.v1.ExecutionStatus;
import java.util.Optional;

/** An execution has not ended well. */
public final class ExecutionFailedException extends RuntimeException {
  private final String executionId;
  private final ExecutionStatus status;

  ExecutionFailedException(Execution seen) {
    super(
        "execution "
            + seen.getExecutionId()
            + " ended as "
            + seen.getStatus()
            + (seen.hasFailure()
                ? ": " + seen.getFailure().getReason() + ": " + seen.getFailure().getMessage()
                : ""),
        seen.hasFailure() ? FaultException.of(seen.getFailure()) : null);
    this.executionId = seen.getExecutionId();
    this.status = seen.getStatus();
  }

  /** Which one it is. */
  public String executionId() {
    return executionId;
  }

  /** How it ended. */
  public ExecutionStatus status() {
    return status;
  }

  /** Why; its reason and metadata are what programs match. */
  public Optional<FaultException> failure() {
    return Optional.ofNullable((FaultException) getCause());
  }
}
