import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from forgemesh.chassis.channel import connect, connect_blocking

LEASE = 15.0
"""Seconds that a registration stays valid: a channel that looks longer for a name that has moved costs an instance."""
ADDRESS, ANSWER, NO_SUCH_NAME = 1, 0x8180, 0x8183


class NameServer(asyncio.DatagramProtocol):
    """Knows one name, whatever it is asked for; `points_at` is its IPv4 address, None for a name that is not there."""

    def __init__(self, points_at: str | None) -> None:
        self.points_at = points_at

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(0, 12) + 5
        (kind,) = struct.unpack("!H", data[end - 4 : end - 2])
        found = self.points_at if kind == ADDRESS else None
        flags = ANSWER if self.points_at else NO_SUCH_NAME
        answer = data[:2] + struct.pack("!5H", flags, 1, found is not None, 0, 0) + data[12:end]
        if found is not None:
            answer += struct.pack("!HHHIH", 0xC00C, ADDRESS, 1, 0, 4) + socket.inet_aton(found)
        self.transport.sendto(answer, addr)


@asynccontextmanager
async def name_server(points_at: str) -> AsyncIterator[tuple[NameServer, str]]:
    """The server and where gRPC is to ask it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(points_at), local_addr=("127.0.0.1", 0))
    try:
        yield server, f"dns://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


@asynccontextmanager
async def pod(address: str) -> AsyncIterator[tuple[grpc.aio.Server, str]]:
    """A server of grpc.health.v1 and its port."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield server, str(port)
    finally:
        await server.stop(0)


async def asked(channel: grpc.aio.Channel | grpc.Channel) -> int:
    """The status that whoever the channel reaches gives, within a lease."""
    check: Any = health_pb2_grpc.HealthStub(channel).Check
    request = health_pb2.HealthCheckRequest()
    if isinstance(channel, grpc.Channel):
        answer = await asyncio.to_thread(check, request, wait_for_ready=True, timeout=LEASE)
    else:
        answer = await check(request, wait_for_ready=True, timeout=LEASE)
    return int(answer.status)


@pytest.mark.parametrize("way", [connect, connect_blocking])
async def test_a_name_that_has_moved_is_found_again_within_a_lease(way: Any) -> None:
    async with (
        pod("127.0.0.2:0") as (old, port),
        pod(f"127.0.0.3:{port}"),
        name_server("127.0.0.2") as (names, authority),
    ):
        channel = way(f"{authority}/orchestrator.test:{port}")
        try:
            before = await asked(channel)
            names.points_at = "127.0.0.3"
            await old.stop(0)
            after = await asked(channel)
        finally:
            closed = channel.close()
            if closed is not None:
                await closed

    assert (before, after) == (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVING)


async def test_a_channel_that_was_refused_finds_a_name_that_moves_meanwhile() -> None:
    async with (
        pod("127.0.0.3:0") as (_, port),
        name_server("127.0.0.2") as (names, authority),
        connect(f"{authority}/orchestrator.test:{port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LEASE)
        names.points_at = "127.0.0.3"
        status = await asked(channel)

    assert status == health_pb2.HealthCheckResponse.SERVING
