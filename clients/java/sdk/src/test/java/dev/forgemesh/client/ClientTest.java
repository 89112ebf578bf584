package dev.forgemesh.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.api.orchestrator.v1.Execution;
import dev.forgemesh.api.orchestrator.v1.ExecutionEvent;
import dev.forgemesh.api.orchestrator.v1.ExecutionStatus;
import dev.forgemesh.api.orchestrator.v1.GetExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.GetExecutionResponse;
import dev.forgemesh.api.orchestrator.v1.OrchestratorServiceGrpc.OrchestratorServiceImplBase;
import dev.forgemesh.api.orchestrator.v1.StartExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.StartExecutionResponse;
import dev.forgemesh.api.orchestrator.v1.WatchExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.WatchExecutionResponse;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Scope;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class ClientTest {
  private static final String TRACE = "0af7651916cd43dd8448eb211c80319c";

  /**
   * An orchestrator that has one execution with ten events, and breaks what it is told to break.
   */
  private static final class Orchestrator extends OrchestratorServiceImplBase
      implements ServerInterceptor {
    private final BlockingQueue<RuntimeException> refusals = new LinkedBlockingQueue<>();
    private final BlockingQueue<Long> watchedFrom = new LinkedBlockingQueue<>();
    private final BlockingQueue<String> traceparents = new LinkedBlockingQueue<>();
    private final BlockingQueue<StartExecutionRequest> starts = new LinkedBlockingQueue<>();
    private volatile int eventsOfAStream = 10;
    private volatile ExecutionStatus status = ExecutionStatus.EXECUTION_STATUS_SUCCEEDED;

    private Execution execution() {
      return Execution.newBuilder()
          .setExecutionId("e-1")
          .setRunId("r-1")
          .setTraceId(TRACE)
          .setStatus(status)
          .setOutput(Payload.ofJson("{\"text\":\"done\"}").message())
          .build();
    }

    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(
        ServerCall<A, B> call, Metadata headers, ServerCallHandler<A, B> next) {
      String said = headers.get(Metadata.Key.of("traceparent", Metadata.ASCII_STRING_MARSHALLER));
      traceparents.add(said == null ? "" : said);
      return next.startCall(call, headers);
    }

    @Override
    public void startExecution(
        StartExecutionRequest request, StreamObserver<StartExecutionResponse> to) {
      starts.add(request);
      RuntimeException refusal = refusals.poll();
      if (refusal != null) {
        to.onError(refusal);
        return;
      }
      to.onNext(StartExecutionResponse.newBuilder().setExecution(execution()).build());
      to.onCompleted();
    }

    @Override
    public void getExecution(GetExecutionRequest request, StreamObserver<GetExecutionResponse> to) {
      to.onNext(GetExecutionResponse.newBuilder().setExecution(execution()).build());
      to.onCompleted();
    }

    @Override
    public void watchExecution(
        WatchExecutionRequest request, StreamObserver<WatchExecutionResponse> to) {
      watchedFrom.add(request.getFromSequence());
      long next = request.getFromSequence();
      for (int sent = 0; sent < eventsOfAStream && next <= 10; sent++, next++) {
        ExecutionEvent event = ExecutionEvent.newBuilder().setSequence(next).build();
        to.onNext(WatchExecutionResponse.newBuilder().addEvents(event).build());
      }
      if (status == ExecutionStatus.EXECUTION_STATUS_RUNNING) {
        return; // it goes on
      }
      if (next <= 10) {
        to.onError(Status.UNAVAILABLE.withDescription("away").asRuntimeException());
      } else {
        to.onCompleted();
      }
    }
  }

  private final Orchestrator orchestrator = new Orchestrator();
  private Server server;
  private Client client;

  /** What an execution returns. */
  record Said(String text) {}

  @BeforeEach
  void serve() throws Exception {
    server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
            .addService(orchestrator)
            .intercept(orchestrator)
            .build()
            .start();
    client = Client.connect("127.0.0.1:" + server.getPort());
  }

  @AfterEach
  void stop() {
    client.close();
    server.shutdownNow();
  }

  private static RuntimeException refusal(Status.Code code, String reason, Duration retryAfter) {
    return FaultException.failed(reason, "not now")
        .withCode(code)
        .thatMayBeRetriedAfter(retryAfter)
        .asStatus();
  }

  @Test
  void whatAnExecutionReturnsIsRead() {
    assertEquals(new Said("done"), client.run("greet", new Said("hello"), Said.class));
    assertEquals(
        "{\"text\":\"hello\"}", orchestrator.starts.remove().getInput().getData().toStringUtf8());
  }

  @Test
  void aWatchGoesOnWhereItBroke() {
    orchestrator.eventsOfAStream = 3;
    List<Long> sequences = new ArrayList<>();

    try (Events events = client.start("greet", null).watch(1)) {
      events.forEach(event -> sequences.add(event.getSequence()));
    }

    assertEquals(List.of(1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L, 10L), sequences);
    assertEquals(List.of(1L, 4L, 7L, 10L), List.copyOf(orchestrator.watchedFrom));
  }

  @Test
  void aStartWithARequestIdIsRepeatedWhileTheOrchestratorIsAwayOrAsksForAPause() {
    orchestrator.refusals.add(refusal(Status.Code.UNAVAILABLE, "STOPPING", Duration.ZERO));
    orchestrator.refusals.add(
        refusal(Status.Code.RESOURCE_EXHAUSTED, "PROCESS_FULL", Duration.ofMillis(60)));

    client.start("greet", null, StartOptions.none().requestId("once"));

    assertEquals(3, orchestrator.starts.size());
  }

  @Test
  void aStartWithoutARequestIdIsNot() {
    orchestrator.refusals.add(refusal(Status.Code.UNAVAILABLE, "STOPPING", Duration.ZERO));

    FaultException fault = assertThrows(FaultException.class, () -> client.start("greet", null));

    assertEquals("STOPPING", fault.reason());
    assertEquals(1, orchestrator.starts.size());
  }

  @Test
  void aPauseIsNeverShorterThanWhatTheMeshAsksFor() {
    FaultException full =
        FaultException.failed("PROCESS_FULL", "not now")
            .thatMayBeRetriedAfter(Duration.ofSeconds(7));

    assertEquals(Duration.ofSeconds(7), Repetition.pauseAfter(0, full));
  }

  @Test
  void anExecutionThatEndedBadlyIsAnException() {
    orchestrator.status = ExecutionStatus.EXECUTION_STATUS_CANCELLED;

    ExecutionFailedException failed =
        assertThrows(ExecutionFailedException.class, () -> client.run("greet", null, Said.class));

    assertEquals(ExecutionStatus.EXECUTION_STATUS_CANCELLED, failed.status());
    assertEquals("e-1", failed.executionId());
  }

  @Test
  void theCallersDeadlineEndsItsWaiting() {
    orchestrator.status = ExecutionStatus.EXECUTION_STATUS_RUNNING;
    Client hurried = client.within(Duration.ofMillis(300));

    assertThrows(DeadlineException.class, () -> hurried.run("greet", null, Said.class));
  }

  @Test
  void anExecutionJoinsTheTraceOfTheCurrentSpan() {
    SpanContext caller =
        SpanContext.create(
            TRACE, "b7ad6b7169203331", TraceFlags.getSampled(), TraceState.getDefault());

    try (Scope scope = Span.wrap(caller).makeCurrent()) {
      client.start("greet", null);
    }

    assertTrue(orchestrator.traceparents.contains("00-" + TRACE + "-b7ad6b7169203331-01"));
  }
}
