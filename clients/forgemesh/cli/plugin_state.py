"""How a plugin stands, in a word: the worst that the registry and the supervisor say about its instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from forgemesh.api.registry.v1.instance_pb2 import InstanceState
from forgemesh.api.supervisor.v1.host_pb2 import HostState

if TYPE_CHECKING:
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


def plugin_state(instances: Iterable[Instance], hosts: Iterable[Host]) -> tuple[str, str]:
    """The worst word and the reason for it; "ok" with no reason if there is nothing to say."""
    said = [
        *((_of_instance(one), one.state_reason) for one in instances),
        *((_OF_HOST.get(host.state, ""), _reason(host)) for host in hosts),
    ]
    known = [(state, reason) for state, reason in said if state]
    return min(known, key=lambda one: (_WORST_FIRST.index(one[0]), not one[1]), default=(OK, ""))


def hosts_of(plugin_id: str, version: str, hosts: Sequence[Host]) -> list[Host]:
    """The processes that serve, or would serve, a version of a plugin."""
    return [host for host in hosts if (host.plugin_id, host.plugin_version) == (plugin_id, version)]


def _of_instance(one: Instance) -> str:
    return _OF_INSTANCE.get(one.state, "suspect" if one.suspect else "")


def _reason(host: Host) -> str:
    missing = f"misses {', '.join(host.missing)}" if host.missing else ""
    return host.reason or missing
