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
from forgemesh.plugin_host.supervisor.hosts.process_run import ProcessRun
from forgemesh.plugin_host.waiting import first_of

_log = logging.getLogger(__name__)

READINESS = "readiness"
CHECK_PERIOD = 0.5
CHECK_DEADLINE = 1.0
MISSES = 3
LEASE = 15.0
DEFAULT_IN_FLIGHT = 16


class ExternalRegistrar:
    """
    For one process at a time: `run` returns at once if the process registers itself.

    A process that does not serve for MISSES checks is not kept registered, until it serves again.
    """

    def __init__(self, registry: str) -> None:
        self._registry = registry

    async def run(self, registrant: Registrant, process_run: ProcessRun) -> None:
        """Until cancelled; sets `process_run.serving` once the instance is registered."""
        await process_run.go.wait()
        address = process_run.announced
        if not address:
            await process_run.serving.wait()
            address = process_run.ready.address
            if process_run.ready.incarnation or not self._registry:
                return
        async with connect(address, keepalive=False) as channel:
            health = HealthStub(channel)
            await self._until_healthy(health, process_run, CHECK_PERIOD / 5)
            process_run.ready = attach_pb2.HostReady(address=address, health_address=process_run.ready.health_address)
            if not self._registry:
                process_run.serving.set()
                await asyncio.Event().wait()
            while True:
                async with self._registered(registrant, process_run):
                    await self._until_unhealthy(health, process_run)
                await self._until_healthy(health, process_run, CHECK_PERIOD)

    async def _healthy(self, health: HealthStub, process_run: ProcessRun) -> bool:
        try:
            answer = await health.Check(HealthCheckRequest(service=READINESS), timeout=CHECK_DEADLINE)
        except grpc.aio.AioRpcError as error:
            if (
                error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED)
                and not process_run.serving.is_set()
            ):
                process_run.fail(
                    Phase.HEALTH,
                    f"it does not answer grpc.health.v1.Health/Check for the name {READINESS!r} "
                    f"({error.code().name}); set that name to SERVING once it takes calls",
                )
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)

    async def _until_healthy(self, health: HealthStub, process_run: ProcessRun, period: float) -> None:
        while True:
            if await self._healthy(health, process_run):
                return
            await asyncio.sleep(period)

    async def _until_unhealthy(self, health: HealthStub, process_run: ProcessRun) -> None:
        misses = 0
        while misses < MISSES:
            await asyncio.sleep(CHECK_PERIOD)
            misses = 0 if await self._healthy(health, process_run) else misses + 1

    @contextlib.asynccontextmanager
    async def _registered(self, registrant: Registrant, process_run: ProcessRun) -> AsyncIterator[None]:
        assert process_run.manifest is not None
        identity = Identity(registrant.instance_id)
        async with connect(self._registry) as channel:
            registration = Registration(
                channel,
                process_run.manifest,
                _instance(registrant, process_run, process_run.manifest),
                identity,
                owner_token=registrant.owner_token,
                ttl=LEASE,
                owner_key=registrant.plan.owner_key(),
            )
            keeping = watched(lasting(f"the registration of {registrant.instance_id}", registration.run))
            watching = watched(_first(registration, process_run))
            try:
                yield
            finally:
                keeping.cancel()
                watching.cancel()
                await registration.end()


async def _first(registration: Registration, process_run: ProcessRun) -> None:
    """Set `process_run.serving` with the first registration; a refusal for good, then or later, ends the process."""
    await first_of(registration.first, registration.hopeless)
    if registration.first.is_set():
        process_run.serving.set()
    await registration.hopeless.wait()
    process_run.fail(Phase.HEALTH, f"the registry does not take it: {registration.refusal}")


def _instance(
    registrant: Registrant, process_run: ProcessRun, manifest: manifest_pb2.Manifest
) -> instance_pb2.Instance:
    return instance_pb2.Instance(
        instance_id=registrant.instance_id,
        plugin_id=manifest.plugin_id,
        plugin_version=manifest.version,
        address=process_run.ready.address,
        health_address=process_run.ready.health_address,
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
