package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.api.errors.v1.Failure;
import io.grpc.Status;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;

/**
 * The faults that a host knows by itself, and how they travel within the bounds that the mesh sets.
 */
final class Failures {
  static final long MOST_OUTPUT = (4L << 20) - 64 * 1024;
  private static final int LONGEST_TEXT = 1024;
  private static final int MOST_FACTS = 256 * 1024;
  private static final int OVERHEAD = 16;
  private static final Duration LONGEST_RETRY = Duration.ofDays(366);

  private Failures() {}

  /** A fault as it travels. */
  static Failure message(FaultException fault, String stepPath) {
    Duration pause = fault.retryAfter();
    pause = pause.isNegative() ? Duration.ZERO : pause;
    pause = pause.compareTo(LONGEST_RETRY) > 0 ? LONGEST_RETRY : pause;
    return Failure.newBuilder()
        .setCode(fault.code().value())
        .setReason(cut(fault.reason()))
        .setMessage(cut(fault.explanation()))
        .putAllMetadata(facts(fault.metadata()))
        .setRetryable(fault.retryable())
        .setStepPath(stepPath)
        .setRetryAfterMillis(pause.toMillis())
        .build();
  }

  /** As many as a failure may say; what had to be left out is counted instead. */
  private static Map<String, String> facts(Map<String, String> given) {
    Map<String, String> kept = new TreeMap<>();
    int size = 0;
    for (Map.Entry<String, String> fact : new TreeMap<>(given).entrySet()) {
      String key = cut(fact.getKey());
      String value = cut(fact.getValue());
      size += bytes(key).remaining() + bytes(value).remaining() + OVERHEAD;
      if (size > MOST_FACTS) {
        kept.put(
            "left_out",
            "%d of %d facts, beyond %d bytes"
                .formatted(given.size() - kept.size(), given.size(), MOST_FACTS));
        break;
      }
      kept.put(key, value);
    }
    return kept;
  }

  /** At most a kibibyte, and nothing that UTF-8 cannot say. */
  static String cut(String text) {
    ByteBuffer bytes = bytes(text == null ? "" : text);
    if (bytes.remaining() <= LONGEST_TEXT) {
      return StandardCharsets.UTF_8.decode(bytes).toString();
    }
    bytes.limit(LONGEST_TEXT - 3);
    CharBuffer kept = CharBuffer.allocate(LONGEST_TEXT);
    StandardCharsets.UTF_8
        .newDecoder()
        .onMalformedInput(CodingErrorAction.REPORT)
        .decode(bytes, kept, false);
    return kept.flip() + "…";
  }

  private static ByteBuffer bytes(String text) {
    return StandardCharsets.UTF_8.encode(text);
  }

  static FaultException inputInvalid(String plugin, String operation, String cause) {
    return FaultException.failed(
            "INPUT_INVALID", "the input does not fit %s/%s: %s".formatted(plugin, operation, cause))
        .withCode(Status.Code.INVALID_ARGUMENT)
        .with("plugin_id", plugin)
        .with("operation", operation)
        .with("cause", cause);
  }

  static FaultException outputInvalid(String plugin, String operation, String cause) {
    return FaultException.failed(
            "OUTPUT_INVALID",
            "what %s/%s returned cannot be sent: %s; mend the plugin"
                .formatted(plugin, operation, cause))
        .withCode(Status.Code.INTERNAL)
        .with("plugin_id", plugin)
        .with("operation", operation)
        .with("cause", cause);
  }

  static FaultException pluginException(String plugin, String operation, Throwable thrown) {
    return FaultException.failed(
            "PLUGIN_EXCEPTION",
            "%s/%s threw %s; the instance's log has the stack".formatted(plugin, operation, thrown))
        .withCode(Status.Code.UNKNOWN)
        .with("plugin_id", plugin)
        .with("operation", operation)
        .with("error", thrown.toString())
        .thatMayBeRetried();
  }

  static FaultException tooLarge(String what, long size, long limit) {
    return FaultException.failed(
            "PAYLOAD_TOO_LARGE",
            "%s has %d bytes, the mesh carries %d; pass a reference to the data instead"
                .formatted(what, size, limit))
        .withCode(Status.Code.RESOURCE_EXHAUSTED)
        .with("what", what)
        .with("size", Long.toString(size))
        .with("limit", Long.toString(limit));
  }

  static FaultException cancelled(String stepPath) {
    return FaultException.failed(
            "CANCELLED", "\"%s\" was cancelled by the end of what is around it".formatted(stepPath))
        .withCode(Status.Code.CANCELLED)
        .with("step_path", stepPath);
  }

  static FaultException timedOut(String stepPath, Duration length) {
    return FaultException.failed(
            "START_TO_CLOSE_TIMEOUT",
            "an attempt at \"%s\" took longer than its start_to_close of %s s"
                .formatted(stepPath, seconds(length)))
        .withCode(Status.Code.DEADLINE_EXCEEDED)
        .with("step_path", stepPath)
        .with("seconds", seconds(length))
        .thatMayBeRetried();
  }

  static FaultException operationNotFound(String plugin, String operation, String known) {
    return FaultException.failed(
            "OPERATION_NOT_FOUND",
            "plugin \"%s\" has no operation \"%s\"; it has: %s".formatted(plugin, operation, known))
        .withCode(Status.Code.UNIMPLEMENTED)
        .with("plugin_id", plugin)
        .with("operation", operation)
        .with("known", known);
  }

  static FaultException instanceFull(String instance, int running) {
    return FaultException.failed(
            "INSTANCE_FULL",
            "instance \"%s\" runs %d calls and its queue is full; try another one"
                .formatted(instance, running))
        .withCode(Status.Code.RESOURCE_EXHAUSTED)
        .with("instance_id", instance)
        .with("running", Integer.toString(running))
        .thatMayBeRetriedAfter(Duration.ofMillis(100));
  }

  static FaultException queueTooLong(String instance, Duration wait, Duration left) {
    return FaultException.failed(
            "QUEUE_TOO_LONG",
            "instance \"%s\" would come to the call in about %s s, its caller waits %s s; try another one, or later"
                .formatted(instance, seconds(wait), seconds(left)))
        .withCode(Status.Code.RESOURCE_EXHAUSTED)
        .with("instance_id", instance)
        .with("wait", seconds(wait))
        .with("left", seconds(left))
        .thatMayBeRetriedAfter(wait);
  }

  static FaultException instanceDraining(String instance) {
    return FaultException.failed(
            "INSTANCE_DRAINING",
            "instance \"%s\" drains and takes no new calls; try another one".formatted(instance))
        .withCode(Status.Code.UNAVAILABLE)
        .with("instance_id", instance)
        .thatMayBeRetried();
  }

  static FaultException wrongIncarnation(String instance, long wanted, long current) {
    return FaultException.failed(
            "WRONG_INCARNATION",
            "instance \"%s\" is at incarnation %s, the call was meant for %s"
                .formatted(instance, Long.toUnsignedString(current), Long.toUnsignedString(wanted)))
        .with("instance_id", instance)
        .with("wanted", Long.toUnsignedString(wanted))
        .with("current", Long.toUnsignedString(current))
        .thatMayBeRetried();
  }

  static FaultException permitRefused(String instance, String permit, String why) {
    return FaultException.failed(
            "PERMIT_REFUSED",
            "instance \"%s\" makes no trial call for permit \"%s\": %s; pick an instance anew"
                .formatted(instance, permit, why))
        .with("instance_id", instance)
        .with("permit_id", permit)
        .with("why", why)
        .thatMayBeRetried();
  }

  static FaultException protocolUnsupported(int spoken, int low, int high) {
    String host = spoken + ".." + spoken;
    String caller = Integer.toUnsignedString(low) + ".." + Integer.toUnsignedString(high);
    return FaultException.failed(
            "PROTOCOL_UNSUPPORTED",
            "this host speaks session protocols %s, the caller %s; bring the older side up to date"
                .formatted(host, caller))
        .with("host", host)
        .with("caller", caller);
  }

  static FaultException invalidRequest(String field, String what) {
    return FaultException.failed("INVALID_REQUEST", field + ": " + what)
        .withCode(Status.Code.INVALID_ARGUMENT)
        .with("field", field);
  }

  private static String seconds(Duration length) {
    return "%.3f".formatted(length.toNanos() / 1e9).replaceAll("\\.?0+$", "");
  }
}
