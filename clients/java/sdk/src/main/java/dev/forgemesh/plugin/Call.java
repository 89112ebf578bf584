package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** What an operation may know of the call that it answers. */
public final class Call {
  static final long MOST_DETAILS = 64 * 1024;
  private static final Context.Key<Call> CURRENT = Context.key("forgemesh.call");

  /** Hears how far the work is. */
  interface Progress {
    void told(double fraction, String note, Payload details);
  }

  private final String namespace;
  private final String executionId;
  private final String stepPath;
  private final int attempt;
  private final String idempotencyKey;
  private final String traceparent;
  private final Payload details;
  private final Progress progress;

  Call(dev.forgemesh.api.plugin.v1.Invocation invocation, String traceparent, Progress progress) {
    this.namespace = invocation.getNamespace();
    this.executionId = invocation.getExecutionId();
    this.stepPath = invocation.getStepPath();
    this.attempt = invocation.getAttempt();
    this.idempotencyKey = invocation.getIdempotencyKey();
    this.details =
        invocation.hasHeartbeatDetails() ? Payload.of(invocation.getHeartbeatDetails()) : null;
    this.traceparent = traceparent;
    this.progress = progress;
  }

  /** A first attempt of nobody's, for a test of an operation as the method that it is. */
  public static Call first() {
    return new Call(
        dev.forgemesh.api.plugin.v1.Invocation.newBuilder().setAttempt(1).build(),
        "",
        (fraction, note, details) -> {});
  }

  /** The call that this thread works for; outside of one it is {@link #first}. */
  public static Call current() {
    Call call = CURRENT.get();
    return call == null ? first() : call;
  }

  Context in(Context context) {
    return context.withValue(CURRENT, this);
  }

  /** Where the execution lives. */
  public String namespace() {
    return namespace;
  }

  /** Whose call it is; empty for a call outside a workflow. */
  public String executionId() {
    return executionId;
  }

  /** The step that calls, such as "analyse/wind/wind". */
  public String stepPath() {
    return stepPath;
  }

  /** Counts the tries at this step, from 1. */
  public int attempt() {
    return attempt;
  }

  /** The same for all attempts: what a plugin uses to recognise a repetition. */
  public String idempotencyKey() {
    return idempotencyKey;
  }

  /**
   * The W3C trace context of this call's span, for requests that no OpenTelemetry library makes.
   */
  public String traceparent() {
    return traceparent;
  }

  /** What an earlier attempt last said with its progress. */
  public Optional<Payload> details() {
    return Optional.ofNullable(details);
  }

  /** How long the caller still waits. */
  public Optional<Duration> remaining() {
    return Optional.ofNullable(Context.current().getDeadline())
        .map(deadline -> Duration.ofNanos(Math.max(0, left(deadline))));
  }

  /** Whether nobody waits for the result any more. */
  public boolean isCancelled() {
    return Context.current().isCancelled();
  }

  /** Says how far the work is, from 0 to 1, with a note for people. */
  public void progress(double fraction, String note) {
    progress.told(fraction, note, null);
  }

  /**
   * Says as well what the next attempt is told, should this one fail: anything that JSON can hold,
   * at most 64 KiB.
   */
  public void progress(double fraction, String note, Object details) {
    Payload payload = Payload.of(details);
    if (payload.size() > MOST_DETAILS) {
      throw Failures.tooLarge("the details of a progress", payload.size(), MOST_DETAILS);
    }
    progress.told(fraction, note, payload);
  }

  /** Throws if nobody waits for the result any more. */
  public void refuseIfCancelled() {
    if (isCancelled()) {
      throw FaultException.failed("CANCELLED", "the call was taken back")
          .withCode(Status.Code.CANCELLED);
    }
  }

  private static long left(Deadline deadline) {
    return deadline.timeRemaining(TimeUnit.NANOSECONDS);
  }
}
