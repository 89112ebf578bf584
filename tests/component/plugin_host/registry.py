"""The registry's end of the line, for tests of a supervisor: it says what a test wants, and keeps what it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from forgemesh.chassis.guard import GuardedServer
from forgemesh.faults.registry import RevisionCompacted

DEADLINE = 180.0


class Registry(RegistryServiceServicer):
    """Says what a test wants, and keeps what it is told."""

    def __init__(self) -> None:
        self.address = ""
        self.away = False
        self.compacted = False
        self.reported: list[pb.ReportEventsRequest] = []
        self.published: list[str] = []
        self.watches: list[pb.WatchEventsRequest] = []
        self.registered: list[pb.RegisterInstanceRequest] = []
        self.deregistered: list[pb.DeregisterInstanceRequest] = []
        self.to_watch: asyncio.Queue[pb.WatchInstancesResponse] = asyncio.Queue()
        self.events: asyncio.Queue[pb.WatchEventsResponse] = asyncio.Queue()
        self._updates = asyncio.Condition()

    async def WatchInstances(self, request: Any, context: Any) -> AsyncIterator[pb.WatchInstancesResponse]:
        while True:
            yield await self.to_watch.get()

    async def ListPlugins(self, request: pb.ListPluginsRequest, context: Any) -> pb.ListPluginsResponse:
        interface = manifest_pb2.Interface(name="shop.reservable", version="1.2.0")
        manifest = manifest_pb2.Manifest(plugin_id=request.plugin_id, version="2.0.0", provides=[interface])
        return pb.ListPluginsResponse(manifests=[manifest])

    async def PublishManifest(self, request: pb.PublishManifestRequest, context: Any) -> pb.PublishManifestResponse:
        async with self._updates:
            self.published.append(request.manifest.plugin_id)
            self._updates.notify_all()
        return pb.PublishManifestResponse(created=True)

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        self.watches.append(request)
        if self.compacted and request.HasField("resume_after"):
            raise RevisionCompacted(1, 7)
        while (event := await self.events.get()).position.revision:
            yield event

    async def ReportEvents(self, request: pb.ReportEventsRequest, context: Any) -> pb.ReportEventsResponse:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        async with self._updates:
            self.reported.append(request)
            self._updates.notify_all()
        return pb.ReportEventsResponse()

    async def RegisterInstance(self, request: pb.RegisterInstanceRequest, context: Any) -> pb.RegisterInstanceResponse:
        async with self._updates:
            self.registered.append(request)
            self._updates.notify_all()
        instance = instance_pb2.Instance(instance_id=request.instance.instance_id, incarnation=7)
        return pb.RegisterInstanceResponse(instance=instance)

    async def RenewLease(self, request: pb.RenewLeaseRequest, context: Any) -> pb.RenewLeaseResponse:
        return pb.RenewLeaseResponse()

    async def DeregisterInstance(
        self, request: pb.DeregisterInstanceRequest, context: Any
    ) -> pb.DeregisterInstanceResponse:
        async with self._updates:
            self.deregistered.append(request)
            self._updates.notify_all()
        return pb.DeregisterInstanceResponse(changed=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE), self._updates:
            await self._updates.wait_for(condition)


@contextlib.asynccontextmanager
async def serving_registry() -> AsyncIterator[Registry]:
    """One that listens until the block ends."""
    made: Any = Registry
    registry: Registry = made()
    server = grpc.aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 4000)])
    guarded: Any = GuardedServer(server)
    add_RegistryServiceServicer_to_server(registry, guarded)
    registry.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield registry
    finally:
        await server.stop(0)
