import asyncio
import logging
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.faults.service import Internal, InvalidRequest, StoreUnavailable
from tests.component.chassis.mill import KINDS, PATIENCE, Mill, running
from tests.unit.chassis.faults import every_class, sample

each_kind = pytest.mark.parametrize("kind", KINDS)


async def refusal(mill: Mill, kind: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await mill.call(kind)
    return refused.value


@each_kind
async def test_an_answer_passes_as_it_is(kind: str) -> None:
    async with running() as mill:
        answers = await mill.call(kind)

    assert answers == (
        [b"GRAINGRAINGRAIN"] if kind == "StreamUnary" else [b"GRAIN"] * (1 if kind == "UnaryUnary" else 3)
    )


@each_kind
async def test_a_fault_reaches_the_caller_as_the_same_class(kind: str) -> None:
    raised = StoreUnavailable("mill.db", "database or disk is full")

    async def act(request: bytes, context: Any) -> bytes:
        raise raised

    async with running(act) as mill:
        error = await refusal(mill, kind)

    fault = from_rpc_error(error)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert isinstance(fault, StoreUnavailable)
    assert (fault.message, fault.metadata, fault.retry_after) == (raised.message, raised.metadata, 1.0)


@each_kind
async def test_a_bug_shows_an_incident_id_and_nothing_else(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def act(request: bytes, context: Any) -> bytes:
        raise ValueError("the password is hunter2")

    async with running(act) as mill:
        with caplog.at_level(logging.ERROR):
            error = await refusal(mill, kind)

    fault = from_rpc_error(error)
    assert isinstance(fault, Internal)
    assert "hunter2" not in f"{error.details()} {error.trailing_metadata()}"
    (record,) = [record for record in caplog.records if record.name == "forgemesh.chassis.guard"]
    assert fault.metadata["incident"] in record.getMessage()
    assert f"/test.Mill/{kind}" in record.getMessage()
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


@each_kind
async def test_a_status_that_the_handler_chose_passes_as_it_is(kind: str) -> None:
    async def act(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.DATA_LOSS, "the sack has a hole")
        raise AssertionError

    async with running(act) as mill:
        error = await refusal(mill, kind)

    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "the sack has a hole")


@each_kind
async def test_a_handler_that_cancels_itself_does_not_let_its_caller_wait(kind: str) -> None:
    async def act(request: bytes, context: Any) -> bytes:
        somebody = asyncio.ensure_future(asyncio.Event().wait())
        somebody.cancel()
        await somebody
        raise AssertionError

    async with running(act) as mill:
        error = await refusal(mill, kind)

    assert isinstance(from_rpc_error(error), Internal)


@each_kind
async def test_a_caller_that_hangs_up_cancels_the_handler(kind: str) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def act(request: bytes, context: Any) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with running(act) as mill:
        call = asyncio.ensure_future(mill.call(kind))
        await began.wait()
        call.cancel()

        async with asyncio.timeout(60):
            await ended.wait()


async def test_every_fault_crosses_the_wire() -> None:
    async def act(request: bytes, context: Any) -> bytes:
        raise sample(Fault.by_reason[request.decode()], "\N{SNOWMAN} " * 500)

    async with running(act) as mill:
        for cls in every_class():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await mill.call("UnaryUnary", cls.reason.encode())

            assert type(from_rpc_error(refused.value)) is cls, refused.value.details()


@pytest.mark.parametrize("garbage", [b"\x0a\x05abc", b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x00\x00"])
async def test_a_message_that_cannot_be_read_is_the_callers_mistake(garbage: bytes) -> None:
    async def check(request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    typed = grpc.method_handlers_generic_handler("test.Typed", {"Check": handler})
    async with running(more=[typed]) as mill:
        typed_call = mill.channel.unary_unary(
            "/test.Typed/Check", request_serializer=bytes, response_deserializer=bytes
        )
        await typed_call(b"\x0a\x05stone", timeout=PATIENCE)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await typed_call(garbage, timeout=PATIENCE)

    assert isinstance(from_rpc_error(refused.value), InvalidRequest)


async def test_a_method_that_does_not_exist_stays_unimplemented() -> None:
    async with running() as mill:
        error = await refusal(mill, "Nothing")

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_in_a_stream_that_cannot_be_read_is_the_callers_mistake() -> None:
    async def gather(requests: Any, context: Any) -> health_pb2.HealthCheckResponse:
        async for _ in requests:
            pass
        raise AssertionError("it was read")

    handler = grpc.stream_unary_rpc_method_handler(
        gather,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    typed = grpc.method_handlers_generic_handler("test.Typed", {"Gather": handler})
    async with running(more=[typed]) as mill:
        typed_call = mill.channel.stream_unary(
            "/test.Typed/Gather", request_serializer=bytes, response_deserializer=bytes
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await typed_call(iter([b"\x0a\x05stone", b"\x00\x00"]), timeout=PATIENCE)

    assert isinstance(from_rpc_error(refused.value), InvalidRequest)
