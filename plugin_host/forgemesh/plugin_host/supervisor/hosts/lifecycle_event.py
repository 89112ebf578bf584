"""What others are told when a host changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from forgemesh.plugin_host.supervisor.hosts.host import SERVING, Host, State, Transition


class Kind(Enum):
    """What happened."""

    STARTED = "STARTED"
    READY = "READY"
    CRASHED = "CRASHED"
    CRASH_LOOP = "CRASH_LOOP"
    RESET = "RESET"
    STOPPED = "STOPPED"
    DEGRADED = "DEGRADED"
    RECOVERED = "RECOVERED"
    RELOADED = "RELOADED"
    RELOAD_FAILED = "RELOAD_FAILED"
    SCALED = "SCALED"
    CONFIGURED = "CONFIGURED"
    CONFIG_REJECTED = "CONFIG_REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent:
    """
    Something that happened to a host, or to a plugin as a whole if it names no instance; `incarnation` is 0 for none.
    """

    kind: Kind
    at: float
    message: str
    plugin_id: str = ""
    plugin_version: str = ""
    instance_id: str = ""
    incarnation: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


def lifecycle_event_of(before: Host, after: Host, incarnation: int = 0) -> LifecycleEvent | None:
    """What a change of a host is for others, whose newest process had this registration; None if it is nothing."""
    kind = _kind(before, after)
    if kind is None:
        return None
    last = after.history[-1]
    return LifecycleEvent(
        kind=kind,
        at=last.at,
        message=f"{after.instance_id}: {after.reason}" if after.reason else after.instance_id,
        plugin_id=after.plugin_id,
        plugin_version=after.plugin_version,
        instance_id=after.instance_id,
        incarnation=incarnation,
        facts=_facts(before, after, last),
    )


def _kind(before: Host, after: Host) -> Kind | None:
    if before.state is after.state:
        return None
    if before.state is State.CRASH_LOOP:
        return Kind.RESET
    if after.state is State.STOPPED and before.state in (State.BACKOFF, State.DISABLED):
        return None
    if after.state is State.STOPPED and before.state is not State.DRAINING:
        return Kind.CRASHED if after.phase else Kind.STOPPED
    if after.state is State.READY:
        return Kind.RECOVERED if before.state in SERVING else Kind.READY
    return {
        State.STARTING: Kind.STARTED,
        State.BACKOFF: Kind.CRASHED,
        State.CRASH_LOOP: Kind.CRASH_LOOP,
        State.STOPPED: Kind.STOPPED,
        State.DEGRADED: Kind.DEGRADED,
    }.get(after.state)


def _facts(before: Host, after: Host, last: Transition) -> dict[str, str]:
    facts = {"name": after.name, "from": before.state.value, "to": after.state.value, "pid": str(last.pid)}
    if last.phase is not None:
        facts["phase"] = last.phase.value
    if last.exit_code is not None:
        facts["exit_code"] = str(last.exit_code)
    if last.signal:
        facts["signal"] = str(last.signal)
    if after.missing:
        facts["missing"] = ", ".join(after.missing)
    return {key: value for key, value in facts.items() if value}
