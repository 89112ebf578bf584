"""Every RPC of every service, over a real connection, with as many entries as are taken and with one more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from forgemesh.bounds import BOUNDS
from forgemesh.chassis.channel import SESSION_LIMIT, connect
from forgemesh.chassis.server import Listen, serving
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.service import InvalidRequest
from tests.received import Container, holding, methods, places_in

PATIENCE = 180.0
COUNTED = [method for method in methods() if places_in(method.input_type)]
each_method = pytest.mark.parametrize("method", COUNTED, ids=lambda method: method.full_name)


def handlers(read: list[str]) -> list[grpc.GenericRpcHandler]:
    """Of all services; each method notes which requests have got as far as to it, and answers with nothing."""
    services = {method.containing_service for method in COUNTED}
    return [
        grpc.method_handlers_generic_handler(
            service.full_name, {method.name: _handler(method, read) for method in service.methods}
        )
        for service in services
    ]


def _handler(method: MethodDescriptor, read: list[str]) -> Any:
    answer = GetMessageClass(method.output_type)()

    async def drained(requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            await unary_unary(request, None)

    async def unary_unary(request: Any, context: Any) -> Any:
        read.append(method.full_name)
        return answer

    async def unary_stream(request: Any, context: Any) -> AsyncIterator[Any]:
        read.append(method.full_name)
        yield answer

    async def stream_unary(requests: AsyncIterator[Any], context: Any) -> Any:
        await drained(requests)
        return answer

    async def stream_stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await drained(requests)
        yield answer

    name = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    make = getattr(grpc, f"{name}_rpc_method_handler")
    inner = {one.__name__: one for one in (unary_unary, unary_stream, stream_unary, stream_stream)}[name]
    return make(inner, GetMessageClass(method.input_type).FromString, type(answer).SerializeToString)


async def called(channel: grpc.aio.Channel, method: MethodDescriptor, requests: Sequence[Any]) -> None:
    """Send the requests, or the last one where only one can be sent; raises AioRpcError."""
    name = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, name)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(iter(requests) if method.client_streaming else requests[-1], timeout=PATIENCE)
    if method.server_streaming:
        assert [answer async for answer in call]
    else:
        await call


@each_method
async def test_every_rpc_takes_its_bounds_and_refuses_one_more_of_anything_by_name(method: MethodDescriptor) -> None:
    read: list[str] = []
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", receive_limit=SESSION_LIMIT, grace=0.0)

    def add(server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers(tuple(handlers(read)))

    async with serving(listen, [], add) as server, connect(server.address) as channel:
        for place in places_in(method.input_type):
            bound = BOUNDS[place.field.full_name]
            await called(channel, method, [holding(place, bound)])
            assert read == [method.full_name]
            read.clear()

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await called(channel, method, [holding(place, bound + 1)])

            check(refused.value, place, bound)
            assert read == []


def check(error: grpc.aio.AioRpcError, place: Container, bound: int) -> None:
    fault = from_rpc_error(error)
    assert isinstance(fault, InvalidRequest)
    (violation,) = fault.violations
    assert violation.field.endswith(place.field.name)
    assert violation.message == f"there are {bound + 1:,} of them in one message, at most {bound:,} are taken"


async def test_a_stream_is_refused_at_the_message_that_holds_too_much_and_not_before() -> None:
    method = next(one for one in COUNTED if one.full_name.endswith("BalancerService.Subscribe"))
    place = next(one for one in places_in(method.input_type) if one.field.name == "baseline")
    read: list[str] = []
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", receive_limit=SESSION_LIMIT, grace=0.0)

    def add(server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers(tuple(handlers(read)))

    async with serving(listen, [], add) as server, connect(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await called(channel, method, [holding(place, 3), holding(place, 4), holding(place, 12_001)])

    check(refused.value, place, 12_000)
    assert read == [method.full_name] * 2
