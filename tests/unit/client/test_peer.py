import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from forgemesh.chassis.status import rpc_status_of
from forgemesh.client.peer import Peer
from forgemesh.faults import ForeignFault
from forgemesh.faults.service import ServiceUnreachable, ShuttingDown
from forgemesh.faults.workflow import ExecutionNotFound

PEER = Peer("orchestrator", "127.0.0.1:7401")


def bare(code: grpc.StatusCode, details: str = "") -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details=details)


@pytest.mark.parametrize("fault", [ExecutionNotFound("x1"), ShuttingDown("orchestrator")])
def test_a_refusal_comes_back_as_its_own_class(fault: ExecutionNotFound | ShuttingDown) -> None:
    status = rpc_status_of(fault)
    error = AioRpcError(status.code, Metadata(), Metadata(*status.trailing_metadata), details=status.details)

    rebuilt = PEER.fault(error)

    assert type(rebuilt) is type(fault)
    assert rebuilt.metadata == fault.metadata


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            bare(grpc.StatusCode.UNAVAILABLE, "failed to connect; last error: connect: Connection refused (111)"),
            "connection refused",
        ),
        (bare(grpc.StatusCode.UNAVAILABLE, "DNS resolution failed for nowhere:1"), "the host name is not known"),
        (bare(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), "no answer within 2 s"),
        (bare(grpc.StatusCode.UNKNOWN, "Stream removed"), "Stream removed"),
        (bare(grpc.StatusCode.INTERNAL, "odd; very\nodd"), "odd, very, odd"),
        (bare(grpc.StatusCode.UNAVAILABLE), "UNAVAILABLE"),
    ],
)
def test_a_connection_that_fails_is_an_unreachable_service(error: AioRpcError, cause: str) -> None:
    fault = PEER.fault(error, deadline=2.0)

    assert isinstance(fault, ServiceUnreachable)
    assert fault.metadata == {"service": "orchestrator", "address": "127.0.0.1:7401", "cause": cause}


def test_a_service_of_another_kind_is_named_as_that() -> None:
    fault = PEER.fault(bare(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))

    assert isinstance(fault, ServiceUnreachable)
    assert "what listens there is no" in fault.message


def test_a_bare_refusal_that_is_not_about_the_connection_stays_what_it_is() -> None:
    fault = PEER.fault(bare(grpc.StatusCode.OUT_OF_RANGE, "too far"))

    assert isinstance(fault, ForeignFault)
