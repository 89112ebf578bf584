"""Waits until the plugin instances of a local mesh can be called."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.api.supervisor.v1.host_pb2 import Host, HostState
from forgemesh.cli.neighbours import hosts, snapshots
from forgemesh.faults import Fault

HOSTS_DEADLINE = 30.0
_PERIOD = 0.1
_READY = (HostState.HOST_STATE_READY, HostState.HOST_STATE_DEGRADED)
_RESTING = (
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
        """Whether a step may be sent to it."""
        return bool(self.address) and self.host.state in _READY

    @property
    def is_on_its_way(self) -> bool:
        """Whether it may still become ready without anybody's help, and without another instance's."""
        return not self.is_ready and not self.host.restarts and self.host.state not in _RESTING and not self.waits

    @property
    def waits(self) -> bool:
        """Whether something that it needs has to come first."""
        return self.host.state == HostState.HOST_STATE_HANDSHAKING and bool(self.host.missing)


async def wait_for_instances(supervisor: str, balancer: str) -> list[Instance]:
    """The plugin hosts, once none is on its way any more: all are ready, rest, or wait; at the latest after 30 s."""
    found: list[Instance] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(HOSTS_DEADLINE):
            while True:
                with suppress(Fault):
                    found = await _instances(supervisor, balancer)
                    if not any(instance.is_on_its_way for instance in found):
                        break
                await asyncio.sleep(_PERIOD)
    return found


async def _instances(supervisor: str, balancer: str) -> list[Instance]:
    kept = await hosts(supervisor)
    endpoints = (endpoint for state in await snapshots(balancer) for endpoint in state.endpoints)
    addresses = {one.instance_id: one.address for one in endpoints if one.health == Health.HEALTH_SERVING}
    return [Instance(host, addresses.get(host.instance_id, "")) for host in kept]
