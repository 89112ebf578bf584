"""A mesh whose supervisor says what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.host_pb2 import Host
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import (
    SupervisorServiceServicer,
    add_SupervisorServiceServicer_to_server,
)
from forgemesh.chassis.server import Listen, serving
from forgemesh.faults import Fault
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import Script

SERVICE = "forgemesh.api.supervisor.v1.SupervisorService"


@dataclass
class ScriptedSupervisor(SupervisorServiceServicer):
    """Lists `listed`, answers with `answers` by the name of the RPC, refuses everything else with `refusal`."""

    listed: list[Host] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    lines: list[pb.TailLogsResponse] = field(default_factory=list)
    refusal: Fault | None = None
    requests: list[Any] = field(default_factory=list)

    async def ListHosts(self, request: Any, context: Any) -> pb.ListHostsResponse:
        return pb.ListHostsResponse(hosts=self.listed)

    async def LoadPlugins(self, request: Any, context: Any) -> Any:
        return self._answer("LoadPlugins", request)

    async def UnloadPlugin(self, request: Any, context: Any) -> Any:
        return self._answer("UnloadPlugin", request)

    async def ReloadPlugin(self, request: Any, context: Any) -> Any:
        return self._answer("ReloadPlugin", request)

    async def ScalePlugin(self, request: Any, context: Any) -> Any:
        return self._answer("ScalePlugin", request)

    async def ResetHost(self, request: Any, context: Any) -> Any:
        return self._answer("ResetHost", request)

    async def ConfigurePlugin(self, request: Any, context: Any) -> Any:
        return self._answer("ConfigurePlugin", request)

    async def TailLogs(self, request: Any, context: Any) -> AsyncIterator[pb.TailLogsResponse]:
        self.requests.append(request)
        for line in self.lines:
            yield line

    def Attach(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Announce(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def _answer(self, name: str, request: Any) -> Any:
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        return self.answers[name]


@asynccontextmanager
async def supervised(supervisor: ScriptedSupervisor) -> AsyncIterator[Typed]:
    """A command line that leads to it."""

    def add(server: grpc.aio.Server) -> None:
        add_SupervisorServiceServicer_to_server(supervisor, server)

    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", grace=0.5)
    async with (
        serving(listen, (SERVICE,), add) as server,
        typing(Script(services={"supervisor": server.address})) as typed,
    ):
        yield typed
