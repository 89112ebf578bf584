package dev.forgemesh;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.BadRequest;
import dev.forgemesh.api.errors.v1.Failure;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

class FaultExceptionTest {
  @Test
  void aFaultSurvivesItsWayOverTheWire() {
    FaultException sent =
        FaultException.failed("WRONG_INCARNATION", "it is another one")
            .with("wanted", "7")
            .thatMayBeRetriedAfter(Duration.ofMillis(1150));

    FaultException got = FaultException.of(sent.asStatus());

    assertEquals(Status.Code.FAILED_PRECONDITION, got.code());
    assertEquals("WRONG_INCARNATION", got.reason());
    assertEquals("it is another one", got.explanation());
    assertEquals(Map.of("wanted", "7"), got.metadata());
    assertEquals(Duration.ofMillis(1150), got.retryAfter());
  }

  @Test
  void violationsAreNamedByTheirField() {
    BadRequest.FieldViolation missing =
        BadRequest.FieldViolation.newBuilder()
            .setField("source")
            .setDescription("is missing")
            .build();
    com.google.rpc.Status told =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.INVALID_ARGUMENT.value())
            .addDetails(Any.pack(BadRequest.newBuilder().addFieldViolations(missing).build()))
            .build();

    FaultException fault = FaultException.of(StatusProto.toStatusRuntimeException(told));

    assertEquals(Map.of("source", "is missing"), fault.violations());
  }

  @Test
  void whatCannotBeReadOfAStatusSaysNothing() {
    Any broken =
        Any.newBuilder()
            .setTypeUrl("type.googleapis.com/google.rpc.ErrorInfo")
            .setValue(ByteString.copyFromUtf8("no protobuf"))
            .build();
    com.google.rpc.Status told =
        com.google.rpc.Status.newBuilder()
            .setCode(14)
            .setMessage("away")
            .addDetails(broken)
            .build();

    FaultException fault = FaultException.of(StatusProto.toStatusRuntimeException(told));

    assertEquals("", fault.reason());
    assertEquals("away", fault.explanation());
  }

  @Test
  void theCausesOfAFailureAreFoundInIt() {
    Failure failure =
        Failure.newBuilder()
            .setCode(10)
            .setReason("BRANCHES_FAILED")
            .addCauses(Failure.newBuilder().setCode(9).setReason("SOLD_OUT"))
            .build();

    List<FaultException> causes = FaultException.of(failure).causes();

    assertEquals(List.of("SOLD_OUT"), causes.stream().map(FaultException::reason).toList());
  }

  @Test
  void numbersOfAnySizeStayExact() {
    String text =
        "{\"large\":9223372036854775807,\"larger\":18446744073709551616,\"fraction\":0.1}";

    assertEquals(text, Payload.of(Payload.ofJson(text).as(JsonNode.class)).data().toStringUtf8());
  }

  @ParameterizedTest
  @ValueSource(strings = {"{} {}", "1 2", "\"a\" x", "", "{", "NaN"})
  void whatIsNotOneJsonValueIsRefused(String text) {
    assertThrows(JacksonException.class, () -> Payload.ofJson(text).as(JsonNode.class));
  }
}
