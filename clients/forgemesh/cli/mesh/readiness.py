"""Waits until the plugin instances of a local mesh can be called."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.api.supervisor.v1.host_pb2 import Host, HostState
from forgemesh.cli.service_discovery import hosts, snapshots
from forgemesh.faults import Fault

HOSTS_DEADLINE = 30.0
_PERIOD = 0.1
_ENDED = (
    HostState.HOST_STATE_BACKOFF,
    HostState.HOST_STATE_STOPPED,
    HostState.HOST_STATE_CRASH_LOOP,
    HostState.HOST_STATE_DISABLED,
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A plugin host; `address` is where the balancer finds it healthy, empty if it does not."""

    host: Host
    address: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether a step may be sent to it, or would start it."""
        serves = self.host.state in (HostState.HOST_STATE_READY, HostState.HOST_STATE_DEGRADED)
        return self.rests or (bool(self.address) and serves)

    @property
    def rests(self) -> bool:
        """Whether it runs only when it is called."""
        ended_well = not (self.host.history and self.host.history[-1].phase)
        return self.host.state == HostState.HOST_STATE_STOPPED and bool(self.host.plugin_id) and ended_well

    @property
    def is_stuck(self) -> bool:
        """Whether it has ended at least once, or waits for something."""
        waits = self.host.state == HostState.HOST_STATE_HANDSHAKING and bool(self.host.missing)
        return waits or self.host.state in _ENDED or self.host.restarts > 0


async def wait_for_instances(supervisor: str, balancer: str) -> list[Instance]:
    """The plugin hosts, as soon as every one is ready or stuck; after 30 s as they are then."""
    found: list[Instance] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(HOSTS_DEADLINE):
            while True:
                with suppress(Fault):
                    found = await _instances(supervisor, balancer)
                    if all(instance.is_ready or instance.is_stuck for instance in found):
                        break
                await asyncio.sleep(_PERIOD)
    return found


async def _instances(supervisor: str, balancer: str) -> list[Instance]:
    kept = await hosts(supervisor)
    endpoints = (endpoint for state in await snapshots(balancer) for endpoint in state.endpoints)
    addresses = {one.instance_id: one.address for one in endpoints if one.health == Health.HEALTH_SERVING}
    return [Instance(host, addresses.get(host.instance_id, "")) for host in kept]
