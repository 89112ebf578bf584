package dev.forgemesh.plugin;

import dev.forgemesh.Payload;
import dev.forgemesh.api.errors.v1.Failure;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.InvocationResult;
import io.grpc.Context;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * One call in the host, from its arrival to the end of its operation. It is answered when its
 * outcome is known and released when its operation no longer runs: one that goes on after its time
 * is over is answered without, and still fills its place. What is not volatile belongs to the
 * host's lock.
 */
final class RunningCall {
  final Invocation invocation;
  final Description.Described operation;
  final Receiver receiver;
  final long withinNanos;
  final long arrived = System.nanoTime();
  final Spans.CallSpan span;
  boolean hasStarted;
  long started;
  long finished;
  Thread worker;
  Context.CancellableContext context;
  Future<?> timer;
  Failure ending;
  boolean isAnswered;
  Payload output;
  Failure failure;
  volatile boolean silent;

  RunningCall(
      Invocation invocation,
      Description.Described operation,
      Receiver receiver,
      long withinNanos,
      Spans.CallSpan span) {
    this.invocation = invocation;
    this.operation = operation;
    this.receiver = receiver;
    this.withinNanos = withinNanos;
    this.span = span;
  }

  long id() {
    return invocation.getCallId();
  }

  String name() {
    return operation.published().getName();
  }

  long queuedNanos() {
    return (hasStarted ? started : finished) - arrived;
  }

  /** The answer as it travels. */
  InvocationResult result() {
    InvocationResult.Builder result =
        InvocationResult.newBuilder()
            .setCallId(id())
            .setAttempt(invocation.getAttempt())
            .setQueuedMicros(TimeUnit.NANOSECONDS.toMicros(queuedNanos()));
    if (hasStarted) {
      result.setRanMicros(TimeUnit.NANOSECONDS.toMicros(finished - started));
    }
    return (failure == null ? result.setOutput(output.message()) : result.setFailure(failure))
        .build();
  }
}
