"""The supervisor's end of an attachment, for tests of hosts: it notes what a host says, and says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2 as pb, host_pb2
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import (
    SupervisorServiceServicer,
    add_SupervisorServiceServicer_to_server,
)
from forgemesh.chassis.guard import GuardedServer
from forgemesh.faults import Fault
from forgemesh.faults.supervisor import HandshakeRefused

DEADLINE = 180.0
TOKEN = "good-for-one-process"


class Supervising(SupervisorServiceServicer):
    """Welcomes every host with the right token; `protocol` is what it will speak, `refusal` what it raises instead."""

    def __init__(self) -> None:
        self.said: list[pb.AttachRequest] = []
        self.protocol = 1
        self.refusal: Fault | None = None
        self.address = ""
        self.attached = 0
        self._context: Any = None
        self._news = asyncio.Condition()

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> None:  # type: ignore[override]
        hello = (await anext(requests)).hello
        if self.refusal is not None:
            raise self.refusal
        if hello.token != TOKEN:
            raise HandshakeRefused(hello.instance_id, "its secret is not the one that it was started with")
        self._context = context
        await context.write(pb.AttachResponse(welcome=pb.AttachWelcome(protocol=self.protocol)))
        self.attached += 1
        await self._note(pb.AttachRequest(hello=hello))
        async for request in requests:
            await self._note(request)

    async def heard(self, kind: str, when: Callable[[Any], bool] = lambda said: True) -> Any:
        """The newest message of a kind that fulfils the condition, as soon as there is one."""

        def find() -> Any:
            found = [getattr(said, kind) for said in self.said if said.WhichOneof("kind") == kind]
            return next((said for said in reversed(found) if when(said)), None)

        async with asyncio.timeout(DEADLINE), self._news:
            return await self._news.wait_for(find)

    async def say(self, **kind: Any) -> None:
        """Send one message to the host that attached last."""
        await self._context.write(pb.AttachResponse(**kind))

    async def initialize(self, config: Any = None, state: pb.SavedState | None = None) -> manifest_pb2.Manifest:
        """Wait for the host and let it start; its manifest."""
        hello = await self.heard("hello")
        text = "" if config is None else json.dumps(config)
        await self.say(initialize=pb.Initialize(config=text, config_revision=1, state=state))
        manifest: manifest_pb2.Manifest = hello.manifest
        return manifest

    async def failure(self) -> tuple[str, str]:
        """The phase in which the host failed, and why."""
        failed = await self.heard("failed")
        return host_pb2.HostPhase.Name(failed.phase).removeprefix("HOST_PHASE_"), failed.reason

    async def _note(self, request: pb.AttachRequest) -> None:
        async with self._news:
            self.said.append(request)
            self._news.notify_all()


@contextlib.asynccontextmanager
async def supervising(address: str = "127.0.0.1:0") -> AsyncIterator[Supervising]:
    """One that listens until the block ends."""
    made: Any = Supervising  # of the service it has only what hosts call
    supervisor: Supervising = made()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 4000)])
    guarded: Any = GuardedServer(server)
    add_SupervisorServiceServicer_to_server(supervisor, guarded)
    supervisor.address = f"127.0.0.1:{server.add_insecure_port(address)}"
    await server.start()
    try:
        yield supervisor
    finally:
        await server.stop(0)
