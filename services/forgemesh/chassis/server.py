"""A gRPC server as a context manager: bounded, drained, with health and (if asked for) reflection."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import grpc
from grpc_health.v1 import health_pb2_grpc

from forgemesh.chassis.callers import Callers
from forgemesh.chassis.channel import LARGEST
from forgemesh.chassis.descriptors import callers_share, descriptor_limit, health_share
from forgemesh.chassis.doorkeeper import Door, Doorkeeper
from forgemesh.chassis.guard import GuardedServer
from forgemesh.chassis.health import ALONE, Beside, Health, bind

_log = logging.getLogger(__name__)

CONTROL_LIMIT = 256 * 1024
"""Bytes of a request, for services that carry no payloads."""


CHECK = "/grpc.health.v1.Health/Check"
MOST_STREAMS = 1000
CLIENT_STREAMS = 250
"""For a service that anybody calls: so many calls of one connection stand before somebody else's at most."""
FEW_STREAMS = 100
"""For services whose callers have no more than a few calls under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """
    Where and how a server listens.

    `drain_delay` (seconds) passes between "not ready" and the refusal of new calls, `grace` until the rest is cut.
    `connection_age` (seconds) bounds a connection's life; None leaves long streams alone. `streams` is how many calls
    one connection may have under way; those of a crowd on one connection wait at its end, and not before others.
    """

    address: str
    health_address: str
    insecure: bool = False
    reflection: bool = False
    receive_limit: int = CONTROL_LIMIT
    drain_delay: float = 0.0
    grace: float = 5.0
    connection_age: float | None = None
    streams: int = MOST_STREAMS

    def __post_init__(self) -> None:
        for name, address in (("listen", self.address), ("health_listen", self.health_address)):
            refuse_open_listener(name, address, self.insecure)


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server."""

    address: str
    health_address: str
    health: Health


@contextlib.asynccontextmanager
async def serving(
    listen: Listen,
    services: Sequence[str],
    add: Callable[[grpc.aio.Server], None],
    *,
    stall: float = 1.0,
    on_stall: Callable[[float], None] | None = None,
    beside_health: Beside = ALONE,
    who: Callable[[], Mapping[str, str]] = dict,
    apart: Collection[str] = (),
) -> AsyncIterator[Serving]:
    """
    Serve until the block ends, then drain.

    The process reports itself ready only when the block calls `health.ready()`. Raises PortInUse. For `stall`,
    `on_stall` and `who` see Health; `beside_health` is on the health port too. Calls of a method in `apart` do not wait
    behind those of others, see GuardedServer; a health check never does.
    """
    checks = Health(services, stall=stall, on_stall=on_stall)
    checks.who = who  # before anybody can ask
    server = grpc.aio.server(options=server_options(listen))
    callers = Callers()
    guarded = cast(grpc.aio.Server, GuardedServer(server, callers, {CHECK, *apart}))
    add(guarded)
    health_pb2_grpc.add_HealthServicer_to_server(checks.on_loop, guarded)
    if listen.reflection:
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - few ask for it

        reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server)
    await checks.start()
    async with checks.serving(listen.health_address, beside_health) as health_address:
        address = bind(server, listen.address)  # the last thing that can fail: grpc.aio frees ports only by stopping
        await server.start()
        doors = Doorkeeper(
            Door(_port(address), callers_share(descriptor_limit()) // 2, callers),
            Door(_port(health_address), health_share(descriptor_limit()) // 2, checks.callers),
        )
        try:
            with doors.watching():
                yield Serving(address, health_address, checks)
        finally:
            await checks.not_ready()
            await asyncio.sleep(listen.drain_delay)  # routers need a moment to notice
            await server.stop(listen.grace)
            await checks.on_loop.enter_graceful_shutdown()  # flips liveness too, so it comes last


def server_options(listen: Listen) -> list[tuple[str, int]]:
    """Measured against grpc 1.85: see docs/decisions/0004-server-options.md."""
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", listen.receive_limit),
        ("grpc.max_send_message_length", LARGEST),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.max_concurrent_streams", listen.streams),
        ("grpc.http.overload_protection", 0),  # it refuses streams of callers who keep to the limit
        ("grpc.max_allowed_incoming_connections", callers_share(descriptor_limit())),
        ("grpc.keepalive_time_ms", 5000),
        ("grpc.keepalive_timeout_ms", 10000),  # a caller that gets no processor for a while is not gone
        ("grpc.http2.ping_timeout_ms", 10000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 4000),
        ("grpc.http2.settings_timeout", 5000),
        ("grpc.server_handshake_timeout_ms", 5000),
        ("grpc.server.max_pending_requests", 20000),
        ("grpc.server.max_pending_requests_hard_limit", 40000),
    ]
    if listen.connection_age is not None:
        options += [
            ("grpc.max_connection_age_ms", int(listen.connection_age * 1000)),
            ("grpc.max_connection_age_grace_ms", 30000),
        ]
    return options


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def refuse_open_listener(name: str, address: str, insecure: bool) -> None:
    """Raises ValueError for an address beyond this machine, unless that is wanted."""
    host = address.rpartition(":")[0].strip("[]")
    if insecure or host == "localhost":
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise ValueError(
        f"{name} = {address!r} listens beyond this machine without TLS; take a loopback address, or say --insecure"
    )
