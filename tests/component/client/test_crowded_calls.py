"""A client makes any number of calls: some wait, none fails for their number."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from forgemesh.chassis.server import Listen, serving
from forgemesh.client.connection_pool import MOST, ConnectionPool
from forgemesh.client.peer import Peer

PATIENCE = 180.0
SERVICE = "test.Inn"


class Inn:
    """Takes calls that stay until they are told to go, and counts them."""

    def __init__(self) -> None:
        self.staying = 0
        self.most = 0
        self.door = asyncio.Event()
        self.changed = asyncio.Event()

    async def stay(self, request: bytes, context: Any) -> bytes:
        self.staying += 1
        self.most = max(self.most, self.staying)
        self.changed.set()
        try:
            await self.door.wait()
        finally:
            self.staying -= 1
        return request

    async def follow(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        yield await self.stay(request, context)

    async def pass_by(self, request: bytes, context: Any) -> bytes:
        return request

    async def guests(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.staying < number:
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def open_inn() -> AsyncIterator[tuple[Inn, ConnectionPool]]:
    inn = Inn()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Stay": grpc.unary_unary_rpc_method_handler(inn.stay),
        "PassBy": grpc.unary_unary_rpc_method_handler(inn.pass_by),
        "Follow": grpc.unary_stream_rpc_method_handler(inn.follow),
    }

    def add(server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", grace=0.1)
    async with serving(listen, [SERVICE], add) as server, ConnectionPool(server.address) as pool:
        yield inn, pool


async def call(pool: ConnectionPool, method: str, timeout: float) -> bytes:
    answer: bytes = await pool.unary_unary(f"/{SERVICE}/{method}")(b"guest", timeout=timeout)
    return answer


async def test_of_many_short_calls_a_bounded_number_is_under_way_and_all_are_answered() -> None:
    async with open_inn() as (inn, pool):
        calls = [asyncio.create_task(call(pool, "Stay", 10.0)) for _ in range(3 * MOST)]
        await inn.guests(MOST)
        inn.door.set()
        answers = await asyncio.gather(*calls)

    assert answers == [b"guest"] * 3 * MOST
    assert inn.most == MOST
    assert pool.connections == 1


@pytest.mark.parametrize("number", [MOST, 12 * MOST])
async def test_streams_however_many_never_stand_in_the_way_of_a_short_call(number: int) -> None:
    async with open_inn() as (inn, pool):
        follow = pool.unary_stream(f"/{SERVICE}/Follow")
        streams = [follow(b"guest") for _ in range(number)]
        for stream in streams:
            await stream.read()
        await inn.guests(number)
        answer = await call(pool, "PassBy", 10.0)
        for stream in streams:
            stream.cancel()

    assert answer == b"guest"
    assert pool.connections == 1 + number // MOST


async def test_calls_that_may_last_never_stand_in_the_way_of_a_short_call() -> None:
    async with open_inn() as (inn, pool):
        lasting = [asyncio.create_task(call(pool, "Stay", PATIENCE)) for _ in range(2 * MOST)]
        await inn.guests(2 * MOST)
        answer = await call(pool, "PassBy", 10.0)
        inn.door.set()
        await asyncio.gather(*lasting)

    assert answer == b"guest"


async def test_a_place_is_free_again_when_its_stream_has_ended() -> None:
    async with open_inn() as (inn, pool):
        inn.door.set()
        follow = pool.unary_stream(f"/{SERVICE}/Follow")
        for _ in range(3):
            for stream in [follow(b"guest") for _ in range(MOST)]:
                assert [answer async for answer in stream] == [b"guest", b"guest"]

    assert pool.connections == 2


async def test_calls_whose_streams_a_server_refuses_are_made_again() -> None:
    inn = Inn()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(inn.pass_by)
    options = [("grpc.max_concurrent_streams", 20), ("grpc.http.overload_protection", 1)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"PassBy": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with ConnectionPool(f"127.0.0.1:{port}") as pool:
            answers = await asyncio.gather(*(call(pool, "PassBy", 10.0) for _ in range(400)))
    finally:
        await server.stop(0)

    assert answers == [b"guest"] * 400


async def test_every_client_of_the_mesh_has_such_a_channel() -> None:
    async with Peer("orchestrator", "127.0.0.1:1").channel() as channel:
        assert isinstance(channel, ConnectionPool)
