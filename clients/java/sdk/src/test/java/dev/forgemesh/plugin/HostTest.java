package dev.forgemesh.plugin;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.InvocationResult;
import dev.forgemesh.api.plugin.v1.InvokeRequest;
import dev.forgemesh.api.plugin.v1.LoadReport;
import dev.forgemesh.api.plugin.v1.Permit;
import dev.forgemesh.api.plugin.v1.PluginServiceGrpc;
import dev.forgemesh.plugin.Numbers.Pair;
import dev.forgemesh.plugintest.TestHost;
import io.grpc.ClientInterceptors;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.stub.MetadataUtils;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(120)
class HostTest {
  @Test
  void integersPassExactly() {
    try (TestHost host = TestHost.serve(new Numbers())) {
      BigInteger large = BigInteger.ONE.shiftLeft(64).subtract(BigInteger.ONE);
      for (Pair sent :
          List.of(
              new Pair(Long.MAX_VALUE, Optional.of(large)),
              new Pair(Long.MIN_VALUE, Optional.empty()))) {
        assertEquals(sent, host.call("echo", sent, Pair.class));
      }
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{\"value\":\"7\"}      | $.value",
        "{}                     | value",
        "{\"value\":1.5}        | $.value",
        "{\"value\":null}       | $.value",
        "[]                     | $",
        "{                      | $",
        "``                     | value",
        "{\"value\":1} 2        | $"
      })
  void anInputThatDoesNotFitIsRefusedWithItsPlace(String input, String place) {
    try (TestHost host = TestHost.serve(new Numbers())) {
      FaultException fault =
          assertThrows(
              FaultException.class, () -> host.call("echo", Payload.ofJson(input), Payload.class));

      assertEquals("INPUT_INVALID", fault.reason());
      assertTrue(fault.explanation().contains(place), fault.explanation());
    }
  }

  /** Passes images on. */
  @Plugin(id = "test.images", version = "1.0.0")
  public static class Images {
    @Operation
    public Payload copy(Payload in) {
      return in;
    }
  }

  @Test
  void anythingButJsonPassesUnread() {
    try (TestHost host = TestHost.serve(new Images())) {
      Payload sent =
          new Payload(
              "image/png", ByteString.copyFrom(new byte[] {0, -1, 1}), Map.of("width", "1"));

      assertEquals(sent, host.call("copy", sent, Payload.class));
    }
  }

  /** Fails in every way. */
  @Plugin(id = "test.failures", version = "1.0.0")
  public static class Failures {
    @Operation
    public int exception() {
      throw new IllegalStateException("it broke");
    }

    @Operation
    public int error() {
      throw new StackOverflowError();
    }

    @Operation
    public int declared() {
      throw FaultException.failed("SOLD_OUT", "none is left")
          .with("left", "0")
          .thatMayBeRetriedAfter(java.time.Duration.ofSeconds(1));
    }

    @Operation
    public Object unwritable() {
      List<Object> itself = new ArrayList<>();
      itself.add(itself);
      return itself;
    }

    @Operation
    public String huge() {
      return "x".repeat(5 << 20);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "exception, UNKNOWN, PLUGIN_EXCEPTION, true, 0",
    "error, UNKNOWN, PLUGIN_EXCEPTION, true, 0",
    "declared, FAILED_PRECONDITION, SOLD_OUT, true, 1000",
    "unwritable, INTERNAL, OUTPUT_INVALID, false, 0",
    "huge, RESOURCE_EXHAUSTED, PAYLOAD_TOO_LARGE, false, 0",
    "nothing, UNIMPLEMENTED, OPERATION_NOT_FOUND, false, 0"
  })
  void whateverIsThrownIsAFailureOfTheOperation(
      String operation, Status.Code code, String reason, boolean retryable, long pause) {
    try (TestHost host = TestHost.serve(new Failures())) {
      FaultException fault =
          assertThrows(FaultException.class, () -> host.call(operation, Map.of(), Payload.class));

      assertEquals(reason, fault.reason());
      assertEquals(code, fault.code());
      assertEquals(retryable, fault.retryable());
      assertEquals(pause, fault.retryAfter().toMillis());
    }
  }

  /** Waits until it is told to stop. */
  @Plugin(id = "test.patience", version = "1.0.0")
  public static class Patience {
    private final BlockingQueue<Optional<Throwable>> causes = new LinkedBlockingQueue<>();
    private final CountDownLatch begun = new CountDownLatch(1);

    /** Waits for it. */
    boolean wasToldToStop() throws InterruptedException {
      return causes.take() != null;
    }

    @Operation
    public int wait(Call call) throws InterruptedException {
      begun.countDown();
      try {
        new CountDownLatch(1).await();
        return 0;
      } finally {
        assertTrue(call.isCancelled());
        causes.add(Optional.ofNullable(Context.current().cancellationCause()));
      }
    }
  }

  private static Invocation.Builder invocation(String operation) {
    return Invocation.newBuilder()
        .setOperation(operation)
        .setInput(Payload.ofJson("{\"value\":1}").message());
  }

  private static InvocationResult invoke(TestHost host, Invocation.Builder invocation) {
    return PluginServiceGrpc.newBlockingStub(host.channel())
        .invoke(InvokeRequest.newBuilder().setInvocation(invocation).build())
        .getResult();
  }

  @Test
  void aDeadlineReachesTheOperation() throws InterruptedException {
    Patience plugin = new Patience();
    try (TestHost host = TestHost.serve(plugin)) {
      InvocationResult result = invoke(host, invocation("wait").setRemainingMillis(20));

      assertEquals("START_TO_CLOSE_TIMEOUT", result.getFailure().getReason());
      assertInstanceOf(
          java.util.concurrent.TimeoutException.class, plugin.causes.take().orElseThrow());
    }
  }

  @Test
  void aCancellationReachesTheOperation() throws InterruptedException {
    Patience plugin = new Patience();
    try (TestHost host = TestHost.serve(plugin)) {
      Context.CancellableContext caller = Context.current().withCancellation();
      CompletableFuture<Status> answered = new CompletableFuture<>();
      Thread waiting =
          new Thread(
              caller.wrap(
                  () -> {
                    try {
                      invoke(host, invocation("wait"));
                      answered.complete(Status.OK);
                    } catch (StatusRuntimeException thrown) {
                      answered.complete(thrown.getStatus());
                    }
                  }));
      waiting.start();
      plugin.begun.await();

      caller.cancel(null);

      assertEquals(Status.Code.CANCELLED, answered.join().getCode());
      assertEquals(Optional.empty(), plugin.causes.take());
    }
  }

  @Test
  void oneWhoseThreadWasInterruptedLeavesItCleanForTheNextCall() {
    try (TestHost host = TestHost.serve(new Patience())) {
      for (int round = 0; round < 20; round++) {
        InvocationResult result = invoke(host, invocation("wait").setRemainingMillis(1));

        assertTrue(
            List.of("START_TO_CLOSE_TIMEOUT", "QUEUE_TOO_LONG")
                .contains(result.getFailure().getReason()));
      }
      assertEquals("OPERATION_NOT_FOUND", invoke(host, invocation("x")).getFailure().getReason());
    }
  }

  /** Holds its calls. */
  @Plugin(id = "test.crowd", version = "1.0.0", maxConcurrency = 2)
  public static class Crowd {
    final CountDownLatch release = new CountDownLatch(1);
    final AtomicInteger running = new AtomicInteger();
    final AtomicInteger most = new AtomicInteger();

    @Operation
    public int hold() throws InterruptedException {
      most.accumulateAndGet(running.incrementAndGet(), Math::max);
      try {
        release.await();
        return 0;
      } finally {
        running.decrementAndGet();
      }
    }
  }

  @Test
  void noMoreRunAtATimeThanMayAndTheRestIsRefusedBehindTheQueue() throws Exception {
    Crowd plugin = new Crowd();
    int places = 2 + 64;
    ExecutorService callers = Executors.newCachedThreadPool();
    try (TestHost host = TestHost.serve(plugin)) {
      BlockingQueue<String> refusals = new LinkedBlockingQueue<>();
      List<Future<?>> calls = new ArrayList<>();
      for (int call = 0; call < places + 14; call++) {
        calls.add(
            callers.submit(
                () -> {
                  try {
                    host.call("hold", Map.of(), Payload.class);
                  } catch (FaultException fault) {
                    refusals.add(fault.reason());
                  }
                }));
      }
      for (int refused = 0; refused < 14; refused++) {
        assertEquals("INSTANCE_FULL", refusals.take());
      }
      plugin.release.countDown();
      for (Future<?> call : calls) {
        call.get();
      }

      assertTrue(refusals.isEmpty());
      assertEquals(2, plugin.most.get());
    } finally {
      callers.shutdownNow();
    }
  }

  @Test
  void aCallForAnotherProcessIsRefused() {
    try (TestHost host = TestHost.serve(new Numbers())) {
      StatusRuntimeException thrown =
          assertThrows(
              StatusRuntimeException.class,
              () -> invoke(host, invocation("echo").setIncarnation(7)));

      assertEquals("WRONG_INCARNATION", FaultException.of(thrown).reason());
    }
  }

  @Test
  void aPermitIsGoodForOneCall() {
    try (TestHost host = TestHost.serve(new Numbers())) {
      assertTrue(invoke(host, permitted("first", 2)).hasOutput());
      for (Invocation.Builder bad :
          List.of(
              permitted("first", 2),
              permitted("older", 1),
              permitted("", 2),
              permitted("x".repeat(257), 2))) {
        StatusRuntimeException thrown =
            assertThrows(StatusRuntimeException.class, () -> invoke(host, bad));

        assertEquals("PERMIT_REFUSED", FaultException.of(thrown).reason());
      }
      assertTrue(invoke(host, permitted("second", 2)).hasOutput());
    }
  }

  private static Invocation.Builder permitted(String id, long generation) {
    return invocation("echo")
        .setPermit(Permit.newBuilder().setPermitId(id).setGeneration(generation));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "readiness", "startup", "liveness", "forgemesh.api.plugin.v1.PluginService"})
  void healthIsToldUnderAllNames(String name) throws Exception {
    try (TestHost host = TestHost.serve(new Numbers())) {
      ServingStatus status =
          HealthGrpc.newBlockingStub(host.channel())
              .check(HealthCheckRequest.newBuilder().setService(name).build())
              .getStatus();

      assertEquals(ServingStatus.SERVING, status);
    }
  }

  @Test
  void aUnaryCallTellsHowBusyItsHostIs() throws Exception {
    try (TestHost host = TestHost.serve(new Numbers())) {
      AtomicReference<Metadata> trailers = new AtomicReference<>();
      PluginServiceGrpc.newBlockingStub(
              ClientInterceptors.intercept(
                  host.channel(),
                  MetadataUtils.newCaptureMetadataInterceptor(new AtomicReference<>(), trailers)))
          .invoke(InvokeRequest.newBuilder().setInvocation(invocation("echo")).build());

      byte[] told =
          trailers
              .get()
              .get(Metadata.Key.of("endpoint-load-metrics-bin", Metadata.BINARY_BYTE_MARSHALLER));
      assertEquals(1.0, LoadReport.parseFrom(told).getNamedMetricsOrThrow("success_rate"));
    }
  }

  /** Everything about it is wrong. */
  @Plugin(
      id = "Not A Name",
      version = "one",
      provides = "nothing",
      maxConcurrency = 0,
      requires = @Requires(versions = "^1"))
  static class Broken {
    @Operation(name = "1st")
    public int first() {
      return 1;
    }

    @Operation
    int hidden() {
      return 2;
    }

    @Operation
    public int two(int one, int other) {
      return one + other;
    }
  }

  @Test
  void mistakesInAPluginAreToldTogether() {
    String said =
        assertThrows(IllegalArgumentException.class, () -> Description.of(new Broken()))
            .getMessage();

    for (String mistake :
        List.of(
            "Not A Name",
            "\"one\"",
            "provides",
            "maxConcurrency",
            "@Requires",
            "1st",
            "hidden",
            "two")) {
      assertTrue(said.contains(mistake), said);
    }
  }

  @Test
  void aClassWithoutTheAnnotationIsNoPlugin() {
    String said =
        assertThrows(IllegalArgumentException.class, () -> Description.of("text")).getMessage();

    assertTrue(said.contains("@Plugin"), said);
  }
}
