"""Looks after a process that knows nothing of leases: asks for its health and keeps it registered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.chassis.channel import connect
from forgemesh.chassis.tasks import lasting, watched
from forgemesh.plugin_host.registration.identity import Identity
from forgemesh.plugin_host.registration.registration import Registration
from forgemesh.plugin_host.supervisor.hosts.context import Registrant
from forgemesh.plugin_host.supervisor.hosts.host import Phase
from forgemesh.plugin_host.supervisor.hosts.process_run import Life
from forgemesh.plugin_host.waiting import first_of

_log = logging.getLogger(__name__)

READINESS = "readiness"
CHECK_PERIOD = 0.5
CHECK_DEADLINE = 1.0
MISSES = 3
LEASE = 15.0
DEFAULT_IN_FLIGHT = 16


class ForeignUpkeep:
    """
    For one process at a time: `run` returns at once if the process registers itself.

    A process that does not serve for MISSES checks is not kept registered, until it serves again.
    """

    def __init__(self, registry: str) -> None:
        self._registry = registry

    async def run(self, registrant: Registrant, life: Life) -> None:
        """Until cancelled; sets `life.serving` once the instance is registered."""
        await life.go.wait()
        address = life.announced
        if not address:
            await life.serving.wait()
            address = life.ready.address
            if life.ready.incarnation or not self._registry:
                return
        async with connect(address, keepalive=False) as channel:
            health = HealthStub(channel)
            await self._until_healthy(health, life, CHECK_PERIOD / 5)
            life.ready = attach_pb2.HostReady(address=address, health_address=life.ready.health_address)
            if not self._registry:
                life.serving.set()
                await asyncio.Event().wait()
            while True:
                async with self._registered(registrant, life):
                    await self._until_unhealthy(health, life)
                await self._until_healthy(health, life, CHECK_PERIOD)

    async def _healthy(self, health: HealthStub, life: Life) -> bool:
        try:
            answer = await health.Check(HealthCheckRequest(service=READINESS), timeout=CHECK_DEADLINE)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED) and not life.serving.is_set():
                life.fail(
                    Phase.HEALTH,
                    f"it does not answer grpc.health.v1.Health/Check for the name {READINESS!r} "
                    f"({error.code().name}); set that name to SERVING once it takes calls",
                )
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)

    async def _until_healthy(self, health: HealthStub, life: Life, period: float) -> None:
        while True:
            if await self._healthy(health, life):
                return
            await asyncio.sleep(period)

    async def _until_unhealthy(self, health: HealthStub, life: Life) -> None:
        misses = 0
        while misses < MISSES:
            await asyncio.sleep(CHECK_PERIOD)
            misses = 0 if await self._healthy(health, life) else misses + 1

    @contextlib.asynccontextmanager
    async def _registered(self, registrant: Registrant, life: Life) -> AsyncIterator[None]:
        assert life.manifest is not None
        identity = Identity(registrant.instance_id)
        async with connect(self._registry) as channel:
            registration = Registration(
                channel,
                life.manifest,
                _instance(registrant, life, life.manifest),
                identity,
                owner_token=registrant.owner_token,
                ttl=LEASE,
                owner_key=registrant.plan.owner_key(),
            )
            keeping = watched(lasting(f"the registration of {registrant.instance_id}", registration.run))
            watching = watched(_first(registration, life))
            try:
                yield
            finally:
                keeping.cancel()
                watching.cancel()
                await registration.end()


async def _first(registration: Registration, life: Life) -> None:
    """Set `life.serving` with the first registration; a refusal for good, then or later, ends the life."""
    await first_of(registration.first, registration.hopeless)
    if registration.first.is_set():
        life.serving.set()
    await registration.hopeless.wait()
    life.fail(Phase.HEALTH, f"the registry does not take it: {registration.refusal}")


def _instance(registrant: Registrant, life: Life, manifest: manifest_pb2.Manifest) -> instance_pb2.Instance:
    return instance_pb2.Instance(
        instance_id=registrant.instance_id,
        plugin_id=manifest.plugin_id,
        plugin_version=manifest.version,
        address=life.ready.address,
        health_address=life.ready.health_address,
        max_in_flight=manifest.max_concurrency or DEFAULT_IN_FLIGHT,
        weight=manifest.weight,
        labels={
            "pid": str(registrant.host.pid),
            "host": socket.gethostname(),
            "name": registrant.plan.name,
            "tenure": registrant.tenure,
        },
        state=instance_pb2.INSTANCE_STATE_ACTIVE,
    )
