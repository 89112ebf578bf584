"""A real registry and a real balancer, with instances of which only the health is real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as registry_pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.main import running as balancer_running
from forgemesh.balancer.settings import BalancerSettings
from forgemesh.chassis.channel import connect
from forgemesh.chassis.health import Health
from forgemesh.chassis.server import Serving
from forgemesh.registry.adapters.clock import SystemClock
from forgemesh.registry.main import running as registry_running
from forgemesh.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

ANYWHERE = "127.0.0.1:0"
SECRET = "the owner's secret"
PLUGIN = "weather.stats"
DEADLINE = 10.0


@contextlib.asynccontextmanager
async def registry_at(database: Path, listen: str = ANYWHERE, **others: Any) -> AsyncIterator[Serving]:
    settings = RegistrySettings(
        listen=listen, health_listen=ANYWHERE, database=database, bookmark=0.1, grace=0.5, **others
    )
    async with registry_running(settings, SystemClock()) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A balancer under test."""

    stub: BalancerServiceAsyncStub
    balancer: Balancer
    server: Serving

    async def warm(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.balancer.warm.wait()


@contextlib.asynccontextmanager
async def balancer_of(registry: str, **others: Any) -> AsyncIterator[Neighbour]:
    """A balancer that is quick to notice, unless told otherwise."""
    given: dict[str, Any] = {
        "listen": ANYWHERE,
        "health_listen": ANYWHERE,
        "grace": 0.5,
        "registry_silence": 1.0,
        "health_interval": 0.05,
        "health_deadline": 0.1,
        "heartbeat": 0.1,
    }
    async with (
        balancer_running(BalancerSettings(registry=registry, **(given | others))) as (server, balancer),
        connect(server.address) as channel,
    ):
        yield Neighbour(BalancerServiceStub(channel), balancer, server)


@contextlib.asynccontextmanager
async def healthy_instance() -> AsyncIterator[tuple[Health, str]]:
    """The health of an instance, serving, and the address where it is asked for."""
    health = Health([])
    await health.start()
    async with health.serving(ANYWHERE) as address:
        await health.ready()
        yield health, address


async def register(
    registry: RegistryServiceAsyncStub, instance_id: str, health_address: str
) -> registry_pb.RegisterInstanceResponse:
    instance = instance_pb2.Instance(
        instance_id=instance_id,
        plugin_id=PLUGIN,
        plugin_version="1.0.0",
        address="127.0.0.1:7001",
        health_address=health_address,
    )
    return await registry.RegisterInstance(registry_pb.RegisterInstanceRequest(instance=instance, owner_token=SECRET))


async def deregister(
    registry: RegistryServiceAsyncStub, registered: registry_pb.RegisterInstanceResponse, *, drain: bool = False
) -> None:
    instance = registered.instance
    await registry.DeregisterInstance(
        registry_pb.DeregisterInstanceRequest(
            instance_id=instance.instance_id, incarnation=instance.incarnation, owner_token=SECRET, drain=drain
        )
    )


@contextlib.asynccontextmanager
async def registry_stub(address: str) -> AsyncIterator[RegistryServiceAsyncStub]:
    async with connect(address) as channel:
        yield RegistryServiceStub(channel)


class Subscriber:
    """Reads the feed and keeps the newest snapshot of each plugin."""

    def __init__(self, stub: BalancerServiceAsyncStub) -> None:
        self._requests: asyncio.Queue[pb.SubscribeRequest] = asyncio.Queue()
        self.snapshots: dict[str, snapshot_pb2.PluginSnapshot] = {}
        self.call = stub.Subscribe(self._outgoing())
        self._messages = aiter(self.call)
        self.say(pb.SubscribeRequest(hello=pb.SubscriberHello(subscriber_id="orchestrator", boot_id="1")))

    def say(self, request: pb.SubscribeRequest) -> None:
        self._requests.put_nowait(request)

    async def hear(self) -> pb.SubscribeResponse:
        async with asyncio.timeout(DEADLINE):
            message: pb.SubscribeResponse = await anext(self._messages)
        if message.HasField("snapshot"):
            self.snapshots[message.snapshot.plugin_id] = message.snapshot
        return message

    async def until(self, reached: Callable[[dict[str, snapshot_pb2.Endpoint]], bool]) -> snapshot_pb2.PluginSnapshot:
        """Hear until the endpoints of the plugin, by instance id, are as they should be."""
        while True:
            snapshot = self.snapshots.get(PLUGIN)
            if snapshot and reached({endpoint.instance_id: endpoint for endpoint in snapshot.endpoints}):
                return snapshot
            await self.hear()

    async def until_health(self, **healths: snapshot_pb2.Health.ValueType) -> snapshot_pb2.PluginSnapshot:
        """Hear until exactly these instances are listed with this health."""
        return await self.until(lambda endpoints: {i: e.health for i, e in endpoints.items()} == healths)

    async def _outgoing(self) -> AsyncGenerator[pb.SubscribeRequest, None]:
        while True:
            yield await self._requests.get()


@contextlib.asynccontextmanager
async def subscribed(balancer: Neighbour) -> AsyncIterator[Subscriber]:
    await balancer.warm()
    subscriber = Subscriber(balancer.stub)
    try:
        yield subscriber
    finally:
        subscriber.call.cancel()
