package dev.forgemesh;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.forgemesh.api.errors.v1.Failure;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A refusal by the mesh, or the failure of a step, with the reason that programs may match.
 *
 * <p>An operation throws one that it has made with {@link #failed} when it fails as it is meant to;
 * any other exception is {@code PLUGIN_EXCEPTION}.
 */
public final class FaultException extends RuntimeException {
  /** The domain of the mesh's own reasons in google.rpc.ErrorInfo. */
  public static final String DOMAIN = "forgemesh.dev";

  private final transient Facts facts;

  private record Facts(
      Status.Code code,
      String reason,
      String message,
      Map<String, String> metadata,
      Duration retryAfter,
      boolean retryable,
      String stepPath,
      Map<String, String> violations,
      List<FaultException> causes) {}

  private FaultException(Facts facts) {
    super(facts.reason.isEmpty() ? facts.message : facts.reason + ": " + facts.message);
    this.facts = facts;
  }

  /**
   * What an operation throws when it has failed.
   *
   * @param reason a name in capitals, which never changes
   * @param message what happened and what to do, for people
   */
  public static FaultException failed(String reason, String message) {
    return new FaultException(
        new Facts(
            Status.Code.FAILED_PRECONDITION,
            reason,
            message,
            Map.of(),
            Duration.ZERO,
            false,
            "",
            Map.of(),
            List.of()));
  }

  /** With another gRPC code than FAILED_PRECONDITION. */
  public FaultException withCode(Status.Code code) {
    return changed(
        code == Status.Code.OK ? Status.Code.UNKNOWN : code,
        facts.metadata,
        facts.retryAfter,
        facts.retryable);
  }

  /** With a fact that the message holds too, for programs. */
  public FaultException with(String key, String value) {
    Map<String, String> metadata = new LinkedHashMap<>(facts.metadata);
    metadata.put(key, value);
    return changed(facts.code, metadata, facts.retryAfter, facts.retryable);
  }

  /** Another attempt can help. */
  public FaultException thatMayBeRetried() {
    return thatMayBeRetriedAfter(Duration.ZERO);
  }

  /** Another attempt can help, and not before so long. */
  public FaultException thatMayBeRetriedAfter(Duration pause) {
    return changed(facts.code, facts.metadata, pause, true);
  }

  private FaultException changed(
      Status.Code code, Map<String, String> metadata, Duration retryAfter, boolean retryable) {
    FaultException made =
        new FaultException(
            new Facts(
                code,
                facts.reason,
                facts.message,
                Map.copyOf(metadata),
                retryAfter,
                retryable,
                facts.stepPath,
                facts.violations,
                facts.causes));
    made.setStackTrace(getStackTrace());
    return made;
  }

  /** Reads what an RPC threw. */
  public static FaultException of(StatusRuntimeException thrown) {
    Status said = thrown.getStatus();
    String message = said.getDescription() == null ? said.getCode().name() : said.getDescription();
    String reason = "";
    Map<String, String> metadata = Map.of();
    Map<String, String> violations = new LinkedHashMap<>();
    Duration retryAfter = Duration.ZERO;
    com.google.rpc.Status rich = StatusProto.fromThrowable(thrown);
    for (Any detail : rich == null ? List.<Any>of() : rich.getDetailsList()) {
      try {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          reason = info.getReason();
          metadata = info.getMetadataMap();
        } else if (detail.is(RetryInfo.class)) {
          com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation one :
              detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.put(one.getField(), one.getDescription());
          }
        }
      } catch (InvalidProtocolBufferException unreadable) {
        // what cannot be read says nothing, and the rest still does
      }
    }
    FaultException fault =
        new FaultException(
            new Facts(
                said.getCode(),
                reason,
                message,
                metadata,
                retryAfter,
                false,
                "",
                Map.copyOf(violations),
                List.of()));
    fault.initCause(thrown);
    return fault;
  }

  /** Reads a failure that is part of an answer. */
  public static FaultException of(Failure failure) {
    return new FaultException(
        new Facts(
            Status.fromCodeValue(failure.getCode()).getCode(),
            failure.getReason(),
            failure.getMessage(),
            failure.getMetadataMap(),
            Duration.ofMillis(failure.getRetryAfterMillis()),
            failure.getRetryable(),
            failure.getStepPath(),
            Map.of(),
            failure.getCausesList().stream().map(FaultException::of).toList()));
  }

  /** The canonical gRPC code. */
  public Status.Code code() {
    return facts.code;
  }

  /**
   * A name from forgemesh.api.errors.v1.ErrorReason without its prefix, or a plugin's own; empty if
   * none was said.
   */
  public String reason() {
    return facts.reason;
  }

  /**
   * Says for people what happened and what to do next, without the reason; its wording may change.
   */
  public String explanation() {
    return facts.message;
  }

  /** Every varying word of the message, under stable keys. */
  public Map<String, String> metadata() {
    return facts.metadata;
  }

  /** The wait that the other side asks for; zero if it asks for none. */
  public Duration retryAfter() {
    return facts.retryAfter;
  }

  /** Whether another attempt at a step can help. */
  public boolean retryable() {
    return facts.retryable;
  }

  /** Where a step's failure arose. */
  public String stepPath() {
    return facts.stepPath;
  }

  /** The mistakes in what was asked, by field. */
  public Map<String, String> violations() {
    return facts.violations;
  }

  /** The failures that this one sums up, the first in time first. */
  public List<FaultException> causes() {
    return facts.causes;
  }

  /** The fault as a status with details, so that a server may answer with it. */
  public StatusRuntimeException asStatus() {
    com.google.rpc.Status.Builder status =
        com.google.rpc.Status.newBuilder()
            .setCode(facts.code.value())
            .setMessage(facts.message)
            .addDetails(
                Any.pack(
                    ErrorInfo.newBuilder()
                        .setReason(facts.reason)
                        .setDomain(DOMAIN)
                        .putAllMetadata(facts.metadata)
                        .build()));
    if (!facts.retryAfter.isZero()) {
      status.addDetails(
          Any.pack(
              RetryInfo.newBuilder()
                  .setRetryDelay(
                      com.google.protobuf.Duration.newBuilder()
                          .setSeconds(facts.retryAfter.getSeconds())
                          .setNanos(facts.retryAfter.getNano()))
                  .build()));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }
}
