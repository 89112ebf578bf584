"""A real registry and a real balancer, with instances of which only the health is real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, report_pb2, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as registry_pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.main import running as balancer_running
from forgemesh.balancer.settings import BalancerSettings
from forgemesh.chassis.channel import connect
from forgemesh.chassis.health import Health
from forgemesh.chassis.server import Serving
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.registry.adapters.clock import SystemClock
from forgemesh.registry.main import running as registry_running
from forgemesh.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

ANYWHERE = "127.0.0.1:0"
SECRET = "the owner's secret"
PLUGIN = "weather.stats"
DEADLINE = 180.0


@contextlib.asynccontextmanager
async def registry_at(database: Path, listen: str = ANYWHERE, **others: Any) -> AsyncIterator[Serving]:
    settings = RegistrySettings(
        listen=listen, health_listen=ANYWHERE, database=database, bookmark=0.1, grace=0.5, **others
    )
    async with waking_clock() as waking, registry_running(settings, SystemClock(waking)) as server:
        yield server


@dataclass(frozen=True, slots=True)
class ServedBalancer:
    """A balancer under test."""

    stub: BalancerServiceAsyncStub
    balancer: Balancer
    server: Serving

    async def warm(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.balancer.warm.wait()


@contextlib.asynccontextmanager
async def balancer_of(registry: str, **others: Any) -> AsyncIterator[ServedBalancer]:
    """A balancer that is quick to notice, unless told otherwise."""
    given: dict[str, Any] = {
        "listen": ANYWHERE,
        "health_listen": ANYWHERE,
        "grace": 0.5,
        "registry_silence": 1.0,
        "health_interval": 0.05,
        "health_deadline": 0.1,
        "heartbeat": 0.1,
        "database": "",
        "adoption": 0.0,
    }
    async with (
        balancer_running(BalancerSettings(registry=registry, **(given | others))) as (server, balancer),
        connect(server.address) as channel,
    ):
        yield ServedBalancer(BalancerServiceStub(channel), balancer, server)


@contextlib.asynccontextmanager
async def healthy_instance() -> AsyncIterator[tuple[Health, str]]:
    """The health of an instance, serving, and the address where it is asked for."""
    health = Health([], stall=60.0)  # it shares the loop of the test, which a busy machine may keep waiting
    await health.start()
    async with health.serving(ANYWHERE) as address:
        await health.ready()
        yield health, address


async def register(
    registry: RegistryServiceAsyncStub, instance_id: str, health_address: str, **facts: Any
) -> registry_pb.RegisterInstanceResponse:
    instance = instance_pb2.Instance(
        instance_id=instance_id,
        plugin_id=PLUGIN,
        plugin_version="1.0.0",
        address="127.0.0.1:7001",
        health_address=health_address,
        **facts,
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
    """Reads the feed; keeps the newest snapshots, loads, and permits. `hello` is what it opens it with."""

    def __init__(self, stub: BalancerServiceAsyncStub, **hello: Any) -> None:
        self._requests: asyncio.Queue[pb.SubscribeRequest] = asyncio.Queue()
        self.snapshots: dict[str, snapshot_pb2.PluginSnapshot] = {}
        self.permits: list[report_pb2.PermitGrant] = []
        self.loads: dict[str, report_pb2.LoadHint] = {}
        self.acknowledged = 0
        self.sequence = 0
        self.call = stub.Subscribe(self._outgoing())
        self._messages = aiter(self.call)
        self.say(
            pb.SubscribeRequest(hello=pb.SubscriberHello(**({"subscriber_id": "orchestrator", "boot_id": "1"} | hello)))
        )

    def say(self, request: pb.SubscribeRequest) -> None:
        self._requests.put_nowait(request)

    async def hear(self) -> pb.SubscribeResponse:
        async with asyncio.timeout(DEADLINE):
            message: pb.SubscribeResponse = await anext(self._messages)
        if message.HasField("snapshot"):
            self.snapshots[message.snapshot.plugin_id] = message.snapshot
        if message.HasField("permit"):
            self.permits.append(message.permit)
        if message.HasField("loads"):
            self.loads |= {hint.instance_id: hint for hint in message.loads.hints}
        if message.HasField("heartbeat"):
            self.acknowledged = message.heartbeat.acknowledged
        return message

    def report(self, *counts: report_pb2.CallCounts, waiting: int | None = None, sequence: int = 0, **news: Any) -> int:
        """Say what was counted, as the next report or as that of this number; its number."""
        self.sequence = max(self.sequence + (not sequence), sequence)
        demands = [] if waiting is None else [report_pb2.PluginDemand(plugin_id=PLUGIN, waiting=waiting)]
        report = report_pb2.OutcomeReport(sequence=sequence or self.sequence, counts=counts, demands=demands, **news)
        self.say(pb.SubscribeRequest(report=report))
        return report.sequence

    async def taken(self, sequence: int) -> None:
        """Hear until the balancer has taken in this report."""
        while self.acknowledged < sequence:
            await self.hear()

    async def until_circuit(
        self, state: snapshot_pb2.CircuitState.ValueType, instance_id: str = "a"
    ) -> snapshot_pb2.Circuit:
        """Hear until the circuit of an instance stands there."""
        snapshot = await self.until(
            lambda endpoints: instance_id in endpoints and endpoints[instance_id].circuit.state == state
        )
        return next(one.circuit for one in snapshot.endpoints if one.instance_id == instance_id)

    async def permit(self) -> report_pb2.PermitGrant:
        """The next permit."""
        while not self.permits:
            await self.hear()
        return self.permits.pop(0)

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

    async def until_reason(self, **reasons: str) -> snapshot_pb2.PluginSnapshot:
        """Hear until exactly these instances are listed with this reason for their health."""
        return await self.until(lambda endpoints: {i: e.health_reason for i, e in endpoints.items()} == reasons)

    async def _outgoing(self) -> AsyncGenerator[pb.SubscribeRequest, None]:
        while True:
            yield await self._requests.get()


@contextlib.asynccontextmanager
async def subscribed(balancer: ServedBalancer, **hello: Any) -> AsyncIterator[Subscriber]:
    await balancer.warm()
    subscriber = Subscriber(balancer.stub, **hello)
    try:
        yield subscriber
    finally:
        subscriber.call.cancel()
