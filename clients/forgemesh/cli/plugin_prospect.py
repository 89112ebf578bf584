"""Whether a plugin that nobody serves is going to be served, and how to ask for that."""

from __future__ import annotations

from enum import Enum

from forgemesh.api.registry.v1.registry_service_pb2 import RequestPluginRequest
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.api.supervisor.v1.host_pb2 import HostState
from forgemesh.cli.service_discovery import DEADLINE, hosts
from forgemesh.client.peer import Peer
from forgemesh.faults import Fault

_ON_THEIR_WAY = frozenset(
    {
        HostState.HOST_STATE_STARTING,
        HostState.HOST_STATE_HANDSHAKING,
        HostState.HOST_STATE_INITIALIZING,
        HostState.HOST_STATE_READY,
        HostState.HOST_STATE_DEGRADED,
    }
)
_OUT = frozenset({HostState.HOST_STATE_DISABLED, HostState.HOST_STATE_CRASH_LOOP})


class Prospect(Enum):
    """What its processes do; UNKNOWN also if they are those of another machine, or asleep."""

    STARTING = "starting"
    UNKNOWN = "unknown"
    OUT = "out"


async def request_plugin(address: str, plugin_id: str) -> None:
    """Say to the registry at `address` that somebody waits for a plugin, as a workflow does that needs it."""
    peer = Peer("registry", address)
    async with peer.channel() as channel:
        method = RegistryServiceStub(channel).RequestPlugin
        await peer.call(method, RequestPluginRequest(plugin_id=plugin_id), deadline=DEADLINE)


async def prospect_of(plugin_id: str, addresses: dict[str, str]) -> Prospect:
    """What the supervisor among `addresses`, if there is one that answers, says of a plugin's processes."""
    address = addresses.get("supervisor", "")
    try:
        states = {one.state for one in await hosts(address) if one.plugin_id == plugin_id} if address else set()
    except Fault:
        return Prospect.UNKNOWN
    if states & _ON_THEIR_WAY:
        return Prospect.STARTING
    return Prospect.OUT if states and states <= _OUT else Prospect.UNKNOWN
