"""Hosts, manifests and events as messages, and back."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.registry.v1 import event_pb2
from forgemesh.api.supervisor.v1 import attach_pb2, host_pb2
from forgemesh.notation.version_range import InvalidRange, VersionRange
from forgemesh.plugin_host.supervisor.hosts.blame import Blame
from forgemesh.plugin_host.supervisor.hosts.host import Host, Phase, State, Transition
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import LifecycleEvent
from forgemesh.plugin_host.supervisor.hosts.load import Load
from forgemesh.plugin_host.supervisor.needs.loading import Need, Offer, OnLoss

MOST_UTILIZATION = 1e6
"""A host that says that it is busier than this says nothing."""
_STATES = {
    State.STARTING: host_pb2.HOST_STATE_STARTING,
    State.HANDSHAKING: host_pb2.HOST_STATE_HANDSHAKING,
    State.INITIALIZING: host_pb2.HOST_STATE_INITIALIZING,
    State.READY: host_pb2.HOST_STATE_READY,
    State.DEGRADED: host_pb2.HOST_STATE_DEGRADED,
    State.DRAINING: host_pb2.HOST_STATE_DRAINING,
    State.STOPPED: host_pb2.HOST_STATE_STOPPED,
    State.BACKOFF: host_pb2.HOST_STATE_BACKOFF,
    State.CRASH_LOOP: host_pb2.HOST_STATE_CRASH_LOOP,
    State.DISABLED: host_pb2.HOST_STATE_DISABLED,
}
_PHASES: Mapping[Phase, host_pb2.HostPhase.ValueType] = {
    phase: host_pb2.HostPhase.Value(f"HOST_PHASE_{phase.value}") for phase in Phase
}
_PHASES_BACK = {number: phase for phase, number in _PHASES.items()}
_LOSSES = {manifest_pb2.ON_LOSS_IGNORE: OnLoss.IGNORE, manifest_pb2.ON_LOSS_STOP: OnLoss.STOP}


def suspects_message(blame: Blame, at: float) -> attach_pb2.Suspects:
    """Which calls a process is to be careful with, at a moment in seconds."""
    return attach_pb2.Suspects(
        suspects=[
            attach_pb2.Suspect(
                key=suspect.key,
                crashes=suspect.crashes,
                alone=blame.is_alone(suspect),
                poison=blame.is_poison(suspect),
                last_words=suspect.last_words if blame.is_poison(suspect) else "",
            )
            for suspect in blame.suspects(at)
        ]
    )


def host_message(host: Host) -> host_pb2.Host:
    """As it is listed."""
    return host_pb2.Host(
        instance_id=host.instance_id,
        name=host.name,
        load=host.load,
        state=_STATES[host.state],
        reason=host.reason,
        pid=host.pid,
        restarts=host.restarts,
        started_at=timestamp(host.started_at),
        next_start_at=timestamp(host.next_start_at),
        plugin_id=host.plugin_id,
        plugin_version=host.plugin_version,
        missing=host.missing,
        history=[_transition(step) for step in host.history],
        recent_crashes=len(host.crashes),
        memory_peak_bytes=host.memory_peak,
        config_revision=host.config_revision,
    )


def phase_of(number: int) -> Phase:
    """The phase that a host names; INIT if it names none."""
    return _PHASES_BACK.get(host_pb2.HostPhase.ValueType(number), Phase.INIT)


def offer_of(manifest: manifest_pb2.Manifest) -> Offer:
    """What a plugin offers."""
    interfaces = tuple((one.name, one.version) for one in manifest.provides)
    return Offer(plugin_id=manifest.plugin_id, version=manifest.version, interfaces=interfaces)


def needs_of(manifest: manifest_pb2.Manifest) -> tuple[Need, ...]:
    """What a plugin needs."""
    return tuple(
        Need(
            name=one.interface_name or one.plugin_id,
            interface=bool(one.interface_name),
            version_range=one.version_range,
            optional=one.optional,
            on_loss=_LOSSES.get(one.on_loss, OnLoss.DEGRADE),
        )
        for one in manifest.dependencies
    )


def manifest_mistake(manifest: manifest_pb2.Manifest) -> str:
    """Why a manifest cannot be used to decide what its plugin needs; empty if it can."""
    if not manifest.plugin_id or not manifest.version:
        return "its manifest names no plugin id or no version"
    for need in needs_of(manifest):
        if not need.name:
            return "a dependency in its manifest names neither a plugin nor an interface"
        try:
            VersionRange.of(need.version_range)
        except InvalidRange as mistake:
            return f"its dependency on {need.name} has a bad range: {mistake}"
    return ""


def event_message(event: LifecycleEvent, source: str) -> event_pb2.Event:
    """As it is reported to the registry."""
    return event_pb2.Event(
        at=timestamp(event.at),
        kind=event_pb2.EventKind.Value(f"EVENT_KIND_{event.kind.value}"),
        plugin_id=event.plugin_id,
        plugin_version=event.plugin_version,
        instance_id=event.instance_id,
        incarnation=event.incarnation,
        message=event.message,
        source=source,
        facts=event.facts,
    )


def load_of(report: load_pb2.LoadReport) -> Load:
    """What a host reports, as far as it makes sense; one that says in no number how busy it is may well be busy."""
    said = report.application_utilization
    facts = report.named_metrics
    asked = (facts.get("in_flight", 0.0), facts.get("queued", 0.0), report.rps_fractional)
    return Load(
        utilization=said if 0 <= said <= MOST_UTILIZATION else None, busy=any(not number <= 0 for number in asked)
    )


def timestamp(seconds: float) -> Timestamp | None:
    """None for never."""
    if not seconds:
        return None
    found = Timestamp()
    found.FromMicroseconds(round(seconds * 1e6))
    return found


def _transition(step: Transition) -> host_pb2.HostTransition:
    return host_pb2.HostTransition(
        at=timestamp(step.at),
        state=_STATES[step.state],
        reason=step.reason,
        exit_code=step.exit_code or 0,
        signal=step.signal,
        phase=_PHASES[step.phase] if step.phase else host_pb2.HOST_PHASE_UNSPECIFIED,
        pid=step.pid,
        memory_peak_bytes=step.memory_peak,
    )
