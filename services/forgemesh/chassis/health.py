"""grpc.health.v1 under the mesh's names, on the service's port and on a plaintext port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.callers import Callers
from forgemesh.chassis.descriptors import descriptor_limit, health_share
from forgemesh.chassis.health_board import WATCHES, HealthBoard
from forgemesh.chassis.health_facts import Facts, HealthServicer, facts_of
from forgemesh.chassis.tasks import lasting, watched
from forgemesh.chassis.threads import start_thread

_log = logging.getLogger(__name__)

LIVENESS, READINESS, STARTUP, OVERALL = "liveness", "readiness", "startup", ""
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_BEAT = 0.25
_NOT_ALIVE = 5
"""As many times as long as a stall: two probes in a row, five seconds apart, mean that the loop has hung for ten."""
LARGEST_REQUEST = 64 * 1024
"""Bytes of what is asked on the port of its own."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What else is served by threads on the health port; `threads` is how many it takes at most."""

    handlers: tuple[grpc.GenericRpcHandler, ...] = ()
    threads: int = 0


ALONE = Beside()


class Health:
    """
    What this process says about itself: liveness, readiness, startup; each gRPC service and "" stand for readiness.

    The port of its own is served by threads, so that it answers while the event loop is blocked; a loop that has not
    turned for `stall` seconds is reported there as not ready, and as not alive after five times that. `on_stall` is
    told once for each stall, in a thread, how long the loop has not turned, and 0 when it turns again.

    Each answer says in its metadata who gives it, which is what `who` returns, and why it is not ready; see
    health_facts.
    """

    def __init__(
        self, services: Sequence[str], *, stall: float = 1.0, on_stall: Callable[[float], None] | None = None
    ) -> None:
        self.who: Callable[[], Mapping[str, str]] = dict
        self.on_loop = HealthServicer(self._facts)
        self._in_thread = HealthBoard(self._facts)
        self._blockers: dict[str, str] = {}
        self._setting = asyncio.Lock()
        self._ready_names = (READINESS, OVERALL, *services)
        self._ready = False
        self._stall = stall
        self._on_stall = on_stall
        self._beat = time.monotonic()
        self._stalled = False
        self._closed = threading.Event()

    def lag(self) -> float:
        """Seconds that the event loop is behind; from any thread."""
        return max(0.0, time.monotonic() - self._beat - _BEAT)

    @property
    def callers(self) -> Callers:
        """Who calls on the port of its own."""
        return self._in_thread.callers

    async def start(self) -> None:
        """Alive, not started, not ready."""
        await self._set((LIVENESS,), True)
        await self._set((STARTUP, *self._ready_names), False)

    async def started(self) -> None:
        """Started, for what a restart would mend: who waits for others is that before it is ready."""
        await self._set((STARTUP,), True)

    async def ready(self) -> None:
        """Started and taking work, unless something is in the way."""
        self._ready = True
        await self.started()
        await self._tell()

    async def not_ready(self) -> None:
        """Alive, and taking no new work."""
        self._ready = False
        await self._tell()

    async def hinder(self, source: str, reason: str) -> None:
        """What of this `source` is in the way of taking work, or an empty text once nothing is."""
        if reason == self._blockers.get(source, ""):
            return
        _log.log(logging.ERROR if reason else logging.INFO, "%s", reason or f"{source}: nothing is in the way any more")
        self._blockers[source] = reason
        await self._tell()

    @property
    def blocker(self) -> str:
        """Everything that is in the way; empty if nothing is."""
        return "; ".join(filter(None, self._blockers.values()))

    @property
    def _serves(self) -> bool:
        return self._ready and not self.blocker

    async def _tell(self) -> None:
        async with self._setting:  # what holds last is said last
            await self._set(self._ready_names, self._serves)

    async def _set(self, names: Sequence[str], serving: bool) -> None:
        status = _SERVING if serving else _NOT_SERVING
        for name in names:
            await self.on_loop.set(name, status)
            self._in_thread.set(name, status)

    def _facts(self) -> Facts:
        return facts_of(self.who(), self.blocker)

    @contextlib.asynccontextmanager
    async def serving(self, listen: str, beside: Beside = ALONE) -> AsyncIterator[str]:
        """Serve health on `listen`; yields the bound address."""
        pool = ThreadPoolExecutor(WATCHES + 2 + beside.threads, thread_name_prefix="health-rpc")
        server = grpc.server(pool, handlers=list(beside.handlers), options=_options())
        health_pb2_grpc.add_HealthServicer_to_server(self._in_thread, server)
        address = bind(server, listen)
        server.start()
        beats = watched(lasting("the beat of the event loop", self._beats))
        start_thread("loop-watch", self._watch_loop)
        try:
            yield address
        finally:
            beats.cancel()
            self._closed.set()
            self._in_thread.close()
            await asyncio.to_thread(server.stop(0.2).wait)

    async def _beats(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_BEAT)

    def _watch_loop(self) -> None:
        while not self._closed.wait(_BEAT):
            lag = self.lag()
            stalled = lag > self._stall
            if stalled != self._stalled:
                self._stalled = stalled
                _log.warning("event loop %s", f"blocked for {lag:.1f} s" if stalled else "turns again")
                for name in self._ready_names:
                    self._in_thread.set(name, _SERVING if self._serves and not stalled else _NOT_SERVING)
                if self._on_stall is not None:
                    self._on_stall(lag if stalled else 0.0)
            self._in_thread.set(LIVENESS, _NOT_SERVING if lag > _NOT_ALIVE * self._stall else _SERVING)


def _options() -> list[tuple[str, int]]:
    """Of the port of its own: callers are answered and gone, so that a connection that is not used is soon closed."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", LARGEST_REQUEST),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.max_concurrent_streams", 100),
        ("grpc.http.overload_protection", 0),
        ("grpc.max_allowed_incoming_connections", health_share(descriptor_limit())),
        ("grpc.max_connection_idle_ms", 30_000),
        ("grpc.http2.settings_timeout", 5000),
        ("grpc.server_handshake_timeout_ms", 5000),
    ]


class PortInUse(Exception):
    """Nothing can listen on the address."""

    def __init__(self, listen: str) -> None:
        super().__init__(
            f"cannot listen on {listen}: the port is in use or not ours to take; stop what holds it, or choose another"
            " port (port 0 takes any free one)"
        )
        self.listen = listen


def bind(server: grpc.Server | grpc.aio.Server, listen: str) -> str:
    """Add an insecure port and return host:port as bound; raises PortInUse."""
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise PortInUse(listen) from error
    return f"{listen.rpartition(':')[0]}:{port}"
