"""How a plugin stands, in a word: the worst that the registry and the supervisor say about its instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.api.registry.v1.instance_pb2 import InstanceState
from forgemesh.api.supervisor.v1.host_pb2 import HostState

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.snapshot_pb2 import Endpoint
    from forgemesh.api.registry.v1.instance_pb2 import Instance
    from forgemesh.api.supervisor.v1.host_pb2 import Host

_OF_INSTANCE = {
    InstanceState.INSTANCE_STATE_QUARANTINED: "quarantined",
    InstanceState.INSTANCE_STATE_CRASH_LOOP: "crash loop",
    InstanceState.INSTANCE_STATE_DRAINING: "draining",
}
_OF_HOST = {
    HostState.HOST_STATE_CRASH_LOOP: "crash loop",
    HostState.HOST_STATE_DISABLED: "disabled",
    HostState.HOST_STATE_BACKOFF: "backoff",
    HostState.HOST_STATE_DEGRADED: "degraded",
    HostState.HOST_STATE_DRAINING: "draining",
    HostState.HOST_STATE_STARTING: "starting",
    HostState.HOST_STATE_HANDSHAKING: "waiting",
    HostState.HOST_STATE_INITIALIZING: "starting",
    HostState.HOST_STATE_STOPPED: "stopped",
}
_WORST_FIRST = (
    "quarantined",
    "crash loop",
    "disabled",
    "backoff",
    "degraded",
    "suspect",
    "waiting",
    "starting",
    "draining",
    "stopped",
)
OK = "ok"
_OF_HEALTH = {
    Health.HEALTH_NOT_SERVING: "not serving",
    Health.HEALTH_UNREACHABLE: "unreachable",
}
_WORST_HEALTH_FIRST = tuple(_OF_HEALTH.values())


def plugin_state(instances: Iterable[Instance], hosts: Iterable[Host]) -> tuple[str, str]:
    """The worst word and the reason for it; "ok" with no reason if there is nothing to say."""
    said = [
        *((_of_instance(one), one.state_reason) for one in instances),
        *((_OF_HOST.get(host.state, ""), _reason(host)) for host in hosts),
    ]
    known = [(state, reason) for state, reason in said if state]
    return min(known, key=lambda one: (_WORST_FIRST.index(one[0]), not one[1]), default=(OK, ""))


def serving_state(instances: Sequence[Instance], endpoints: Mapping[str, Endpoint]) -> tuple[str, str]:
    """
    What there is to say of instances about which nobody complains, and the reason for it.

    "ok" if at least one of them serves; `endpoints` are what the balancer knows, by instance id.
    """
    if not instances:
        return "not served", ""
    if any(health_of(one, endpoints) == Health.HEALTH_SERVING for one in instances):
        return OK, ""
    known = [endpoints[one.instance_id] for one in instances if one.instance_id in endpoints]
    found = [(_OF_HEALTH[one.health], one.health_reason) for one in known if one.health in _OF_HEALTH]
    return min(found, key=lambda one: (_WORST_HEALTH_FIRST.index(one[0]), not one[1]), default=("not checked", ""))


def health_of(instance: Instance, endpoints: Mapping[str, Endpoint]) -> Health.ValueType:
    """As the balancer sees it; UNSPECIFIED for one that it has not looked at yet."""
    endpoint = endpoints.get(instance.instance_id)
    return endpoint.health if endpoint is not None else Health.HEALTH_UNSPECIFIED


def hosts_of(plugin_id: str, version: str, hosts: Sequence[Host]) -> list[Host]:
    """The processes that serve, or would serve, a version of a plugin."""
    return [host for host in hosts if (host.plugin_id, host.plugin_version) == (plugin_id, version)]


def _of_instance(one: Instance) -> str:
    return _OF_INSTANCE.get(one.state, "suspect" if one.suspect else "")


def _reason(host: Host) -> str:
    missing = f"misses {', '.join(host.missing)}" if host.missing else ""
    return host.reason or missing
