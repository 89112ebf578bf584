package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import dev.forgemesh.api.plugin.v1.DescribeRequest;
import dev.forgemesh.api.plugin.v1.DescribeResponse;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.InvocationResult;
import dev.forgemesh.api.plugin.v1.InvokeRequest;
import dev.forgemesh.api.plugin.v1.InvokeResponse;
import dev.forgemesh.api.plugin.v1.PluginServiceGrpc.PluginServiceImplBase;
import dev.forgemesh.api.plugin.v1.SessionRequest;
import dev.forgemesh.api.plugin.v1.SessionResponse;
import io.grpc.Context;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.atomic.AtomicReference;

/** PluginService: it translates, and decides nothing. */
final class PluginService extends PluginServiceImplBase {
  private final Host host;
  private final Sessions sessions;
  private final boolean endIsTold;

  PluginService(Host host, boolean endIsTold) {
    this.host = host;
    this.sessions = new Sessions(host.capacity());
    this.endIsTold = endIsTold;
  }

  Sessions sessions() {
    return sessions;
  }

  @Override
  public void describe(DescribeRequest request, StreamObserver<DescribeResponse> to) {
    to.onNext(
        DescribeResponse.newBuilder()
            .setManifest(host.plugin().manifest())
            .setInstanceId(host.identity().instanceId())
            .setIncarnation(host.identity().incarnation())
            .build());
    to.onCompleted();
  }

  /**
   * Makes one call. Its failure is part of the answer; an error status says that it did not run.
   */
  @Override
  public void invoke(InvokeRequest request, StreamObserver<InvokeResponse> to) {
    if (!request.hasInvocation()) {
      to.onError(Failures.invalidRequest("invocation", "is missing").asStatus());
      return;
    }
    Invocation invocation = request.getInvocation();
    AtomicReference<RunningCall> taken = new AtomicReference<>();
    ((ServerCallStreamObserver<InvokeResponse>) to)
        .setOnCancelHandler(
            () -> {
              RunningCall call = taken.get();
              if (call != null) {
                host.cancel(call);
              }
            });
    try {
      taken.set(
          host.take(
              Context.current().getDeadline(),
              invocation,
              call -> answer(to, call.result()),
              false));
      if (Context.current().isCancelled()) {
        host.cancel(taken.get());
      }
    } catch (FaultException refusal) {
      if (!refusal.reason().equals("OPERATION_NOT_FOUND")) {
        to.onError(refusal.asStatus());
        return;
      }
      answer(
          to,
          InvocationResult.newBuilder()
              .setCallId(invocation.getCallId())
              .setAttempt(invocation.getAttempt())
              .setFailure(Failures.message(refusal, invocation.getStepPath()))
              .build());
    }
  }

  @Override
  public StreamObserver<SessionRequest> session(StreamObserver<SessionResponse> to) {
    return new Session(host, sessions, (ServerCallStreamObserver<SessionResponse>) to, endIsTold);
  }

  private static void answer(StreamObserver<InvokeResponse> to, InvocationResult result) {
    to.onNext(InvokeResponse.newBuilder().setResult(result).build());
    to.onCompleted();
  }
}
