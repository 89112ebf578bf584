package dev.forgemesh.plugin;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.api.plugin.v1.Cancel;
import dev.forgemesh.api.plugin.v1.ClientHello;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.InvocationResult;
import dev.forgemesh.api.plugin.v1.PluginServiceGrpc;
import dev.forgemesh.api.plugin.v1.Progress;
import dev.forgemesh.api.plugin.v1.SessionRequest;
import dev.forgemesh.api.plugin.v1.SessionResponse;
import dev.forgemesh.plugin.HostTest.Crowd;
import dev.forgemesh.plugin.HostTest.Patience;
import dev.forgemesh.plugintest.TestHost;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

@Timeout(120)
class SessionTest {
  private static final ClientHello HELLO =
      ClientHello.newBuilder().setProtocolMin(1).setProtocolMax(1).setCallerId("test").build();

  /** The other end of a session. */
  private static final class Caller implements StreamObserver<SessionResponse> {
    private final Context.CancellableContext context = Context.ROOT.withCancellation();
    private final BlockingQueue<SessionResponse> heard = new LinkedBlockingQueue<>();
    private final CompletableFuture<Throwable> ended = new CompletableFuture<>();
    private final StreamObserver<SessionRequest> requests;
    private final Map<Long, InvocationResult> results = new HashMap<>();
    private final Map<Long, Progress> told = new HashMap<>();
    private final Set<Long> begun = new HashSet<>();
    private int credits;
    private boolean drained;

    Caller(TestHost host) throws Exception {
      requests = context.call(() -> PluginServiceGrpc.newStub(host.channel()).session(this));
    }

    static Caller greeted(TestHost host) throws Exception {
      Caller caller = new Caller(host);
      caller.requests.onNext(SessionRequest.newBuilder().setHello(HELLO).build());
      SessionResponse welcome = caller.receive();
      assertEquals(1, welcome.getHello().getProtocol());
      assertEquals("test", welcome.getHello().getInstanceId());
      return caller;
    }

    @Override
    public void onNext(SessionResponse response) {
      heard.add(response);
    }

    @Override
    public void onError(Throwable thrown) {
      ended.complete(thrown);
    }

    @Override
    public void onCompleted() {
      ended.complete(null);
    }

    SessionResponse receive() throws InterruptedException {
      SessionResponse response = heard.take();
      credits += response.getCredits();
      for (InvocationResult result : response.getResultsList()) {
        assertNull(results.put(result.getCallId(), result), "a call is answered twice");
      }
      response.getProgressList().forEach(one -> told.put(one.getCallId(), one));
      begun.addAll(response.getAcceptedList());
      drained |= response.hasDrain();
      return response;
    }

    void until(BooleanSupplier holds) throws InterruptedException {
      while (!holds.getAsBoolean()) {
        receive();
      }
    }

    void call(long id, String operation, String input) {
      requests.onNext(
          SessionRequest.newBuilder().addInvocations(invocation(id, operation, input)).build());
    }
  }

  private static Invocation invocation(long id, String operation, String input) {
    return Invocation.newBuilder()
        .setCallId(id)
        .setOperation(operation)
        .setAttempt(1)
        .setInput(Payload.ofJson(input).message())
        .build();
  }

  @Test
  void everyCallIsAnsweredOnceAndGivesItsCreditBack() throws Exception {
    try (TestHost host = TestHost.serve(new Numbers())) {
      Caller caller = Caller.greeted(host);
      int granted = caller.credits;
      int calls = 1000;
      for (long id = 1; id <= calls; ) {
        SessionRequest.Builder batch = SessionRequest.newBuilder();
        for (; caller.credits > 0 && id <= calls; id++) {
          caller.credits--;
          batch.addInvocations(invocation(id, "echo", "{\"value\":1}"));
        }
        caller.requests.onNext(batch.build());
        caller.until(() -> caller.credits > 0);
      }

      caller.until(() -> caller.results.size() == calls && caller.credits == granted);

      caller.results.forEach((id, result) -> assertTrue(result.hasOutput(), "call " + id));
      caller.requests.onCompleted();
      assertNull(caller.ended.join());
    }
  }

  @Test
  void aCallWithoutACreditIsRefused() throws Exception {
    Crowd plugin = new Crowd();
    try (TestHost host = TestHost.serve(plugin)) {
      Caller caller = Caller.greeted(host);
      int granted = caller.credits;
      for (long id = 1; id <= granted + 1; id++) {
        caller.call(id, "hold", "{}");
      }

      caller.until(() -> caller.results.containsKey(granted + 1L));
      assertEquals("INSTANCE_FULL", caller.results.get(granted + 1L).getFailure().getReason());
      plugin.release.countDown();

      caller.until(() -> caller.results.size() == granted + 1 && caller.credits == 2 * granted);
    }
  }

  @Test
  void aCancelledCallIsAnsweredAndItsOperationTold() throws Exception {
    Patience plugin = new Patience();
    try (TestHost host = TestHost.serve(plugin)) {
      Caller caller = Caller.greeted(host);
      caller.call(1, "wait", "{}");
      caller.until(() -> caller.begun.contains(1L));

      caller.requests.onNext(
          SessionRequest.newBuilder().addCancels(Cancel.newBuilder().setCallId(1)).build());

      caller.until(() -> caller.results.containsKey(1L));
      assertEquals("CANCELLED", caller.results.get(1L).getFailure().getReason());
    }
  }

  /** Says how far it was, and fails. */
  @Plugin(id = "test.progress", version = "1.0.0")
  public static class Halfway {
    @Operation
    public int half(Call call) {
      call.progress(0.5, "half", Map.of("at", 7));
      throw FaultException.failed("NOT_YET", "once more");
    }
  }

  @Test
  void whatAFailedCallSaidLastGoesWithItsFailure() throws Exception {
    try (TestHost host = TestHost.serve(new Halfway())) {
      Caller caller = Caller.greeted(host);

      caller.call(1, "half", "{}");
      caller.until(() -> caller.results.containsKey(1L));

      assertEquals("NOT_YET", caller.results.get(1L).getFailure().getReason());
      assertEquals(0.5, caller.told.get(1L).getFraction());
      assertEquals("{\"at\":7}", caller.told.get(1L).getDetails().getData().toStringUtf8());
    }
  }

  @Test
  void theLossOfASessionTakesItsCallsBack() throws Exception {
    Patience plugin = new Patience();
    try (TestHost host = TestHost.serve(plugin)) {
      Caller caller = Caller.greeted(host);
      caller.call(1, "wait", "{}");
      caller.until(() -> caller.begun.contains(1L));

      caller.context.cancel(null);

      assertTrue(plugin.wasToldToStop());
    }
  }

  @Test
  void aHostThatDrainsAnswersWhatItHasAndSaysSo() throws Exception {
    Crowd plugin = new Crowd();
    TestHost host = TestHost.serve(plugin);
    Caller caller = Caller.greeted(host);
    caller.call(1, "hold", "{}");
    caller.until(() -> caller.begun.contains(1L));

    host.host().stop();
    caller.until(() -> caller.drained);
    caller.call(2, "hold", "{}");
    caller.until(() -> caller.results.containsKey(2L));
    plugin.release.countDown();
    caller.until(() -> caller.results.containsKey(1L));

    assertEquals("INSTANCE_DRAINING", caller.results.get(2L).getFailure().getReason());
    assertTrue(caller.results.get(1L).hasOutput());
    assertNull(caller.ended.join());
    host.close();
  }

  @Test
  void sessionsShareWhatTheHostTakes() throws Exception {
    try (TestHost host = TestHost.serve(new Numbers())) {
      Caller first = Caller.greeted(host);
      Caller second = Caller.greeted(host);

      assertEquals(4 + 64, first.credits);
      assertEquals((4 + 64) / 2, second.credits);
      assertFalse(first.drained);
    }
  }

  static Stream<Arguments> brokenFramings() {
    SessionRequest hello = SessionRequest.newBuilder().setHello(HELLO).build();
    SessionRequest shrinking =
        SessionRequest.newBuilder()
            .addInvocations(invocation(2, "echo", "{}"))
            .addInvocations(invocation(1, "echo", "{}"))
            .build();
    return Stream.of(
        Arguments.of("INVALID_REQUEST", List.of(SessionRequest.getDefaultInstance())),
        Arguments.of("INVALID_REQUEST", List.of(hello, hello)),
        Arguments.of("INVALID_REQUEST", List.of(hello, shrinking)),
        Arguments.of(
            "PROTOCOL_UNSUPPORTED",
            List.of(
                SessionRequest.newBuilder()
                    .setHello(ClientHello.newBuilder().setProtocolMin(2).setProtocolMax(9))
                    .build())),
        Arguments.of(
            "WRONG_INCARNATION",
            List.of(
                SessionRequest.newBuilder()
                    .setHello(HELLO.toBuilder().setIncarnation(9))
                    .build())));
  }

  @ParameterizedTest
  @MethodSource("brokenFramings")
  void aSessionThatBreaksItsFramingEndsWithTheReason(String reason, List<SessionRequest> said)
      throws Exception {
    try (TestHost host = TestHost.serve(new Numbers())) {
      Caller caller = new Caller(host);

      said.forEach(caller.requests::onNext);

      assertEquals(
          reason, FaultException.of((StatusRuntimeException) caller.ended.join()).reason());
    }
  }
}
