"""Snapshots as messages; the durations in a message count from its receipt, so clocks need not agree."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import snapshot_pb2 as pb
from forgemesh.feed.policies import policy_from_message, policy_to_message
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.snapshot import Revision, Snapshot

HEALTH = {
    Health.UNCHECKED: pb.HEALTH_UNSPECIFIED,
    Health.SERVING: pb.HEALTH_SERVING,
    Health.NOT_SERVING: pb.HEALTH_NOT_SERVING,
    Health.UNREACHABLE: pb.HEALTH_UNREACHABLE,
}
CIRCUIT = {
    CircuitState.CLOSED: pb.CIRCUIT_STATE_CLOSED,
    CircuitState.OPEN: pb.CIRCUIT_STATE_OPEN,
    CircuitState.HALF_OPEN: pb.CIRCUIT_STATE_HALF_OPEN,
    CircuitState.FORCED_OPEN: pb.CIRCUIT_STATE_FORCED_OPEN,
    CircuitState.FORCED_CLOSED: pb.CIRCUIT_STATE_FORCED_CLOSED,
    CircuitState.METRICS_ONLY: pb.CIRCUIT_STATE_METRICS_ONLY,
}
LONGEST_REASON = 256
"""Characters of a reason: it goes to every subscriber, for every instance."""
_ADMISSION = {
    Admission.OPEN: pb.ADMISSION_OPEN,
    Admission.DRAINING: pb.ADMISSION_DRAINING,
    Admission.OUT: pb.ADMISSION_OUT,
    Admission.CRASH_LOOP: pb.ADMISSION_CRASH_LOOP,
}
_HEALTH_READ = {number: health for health, number in HEALTH.items()}
_CIRCUIT_READ = {number: state for state, number in CIRCUIT.items()} | {
    pb.CIRCUIT_STATE_UNSPECIFIED: CircuitState.CLOSED
}
_ADMISSION_READ = {number: admission for admission, number in _ADMISSION.items()} | {
    pb.ADMISSION_UNSPECIFIED: Admission.OPEN
}


def snapshot_to_message(snapshot: Snapshot, now: float) -> pb.PluginSnapshot:
    """A snapshot that leaves now, on the clock of its moments."""
    return pb.PluginSnapshot(
        plugin_id=snapshot.plugin_id,
        revision=revision_to_message(snapshot.revision),
        policy=policy_to_message(snapshot.policy, snapshot.plugin_id),
        endpoints=[endpoint_to_message(endpoint, now) for endpoint in snapshot.endpoints],
    )


def snapshot_from_message(message: pb.PluginSnapshot, now: float) -> Snapshot:
    """A snapshot that arrives now. Values that this release does not know read as the most careful one."""
    endpoints = tuple(_endpoint_from_message(endpoint, now) for endpoint in message.endpoints)
    policy = policy_from_message(message.policy)
    return Snapshot(message.plugin_id, revision_from_message(message.revision), policy, endpoints)


def revision_to_message(revision: Revision) -> pb.FeedRevision:
    """A point in a balancer's history."""
    return pb.FeedRevision(epoch=revision.epoch, revision=revision.revision)


def revision_from_message(message: pb.FeedRevision) -> Revision:
    """A point in a balancer's history."""
    return Revision(message.epoch, message.revision)


def circuit_to_message(circuit: CircuitView, now: float) -> pb.Circuit:
    """A circuit as it stands now."""
    waiting = circuit.open_until - now if circuit.state is CircuitState.OPEN else 0.0
    return pb.Circuit(
        state=CIRCUIT[circuit.state],
        generation=circuit.generation,
        open_for_millis=millis(waiting),
        cause=circuit.cause,
        cause_traceparent=circuit.traceparent,
    )


def circuit_from_message(message: pb.Circuit, now: float) -> CircuitView:
    """A circuit of which somebody tells now; an unknown state is open."""
    return CircuitView(
        _CIRCUIT_READ.get(message.state, CircuitState.OPEN),
        message.generation,
        now + message.open_for_millis / 1000,
        message.cause,
        message.cause_traceparent,
    )


def endpoint_to_message(endpoint: Endpoint, now: float) -> pb.Endpoint:
    """An endpoint as it is now."""
    message = pb.Endpoint(
        instance_id=endpoint.instance_id,
        incarnation=endpoint.incarnation,
        address=endpoint.address,
        plugin_version=endpoint.plugin_version,
        health=HEALTH[endpoint.health],
        admission=_ADMISSION[endpoint.admission],
        admission_reason=endpoint.admission_reason[:LONGEST_REASON],
        circuit=circuit_to_message(endpoint.circuit, now),
        weight=endpoint.weight,
        tier=endpoint.tier,
        max_in_flight=endpoint.max_in_flight,
        in_flight=endpoint.in_flight,
        session=endpoint.session,
        zone=endpoint.zone,
        health_reason=endpoint.health_reason[:LONGEST_REASON],
        health_age_millis=millis(now - endpoint.health_since),
        ejected=endpoint.ejected,
        manifest_digest=endpoint.manifest_digest,
    )
    if endpoint.warming_since is not None:
        message.warming_age_millis = millis(now - endpoint.warming_since)
    return message


def millis(seconds: float) -> int:
    """Whole milliseconds, not below zero."""
    return max(0, round(seconds * 1000))


def _endpoint_from_message(message: pb.Endpoint, now: float) -> Endpoint:
    warming = message.HasField("warming_age_millis")
    return Endpoint(
        instance_id=message.instance_id,
        incarnation=message.incarnation,
        address=message.address,
        plugin_version=message.plugin_version,
        health=_HEALTH_READ.get(message.health, Health.UNCHECKED),
        health_reason=message.health_reason,
        health_since=now - message.health_age_millis / 1000,
        admission=_ADMISSION_READ.get(message.admission, Admission.OUT),
        admission_reason=message.admission_reason,
        circuit=circuit_from_message(message.circuit, now),
        ejected=message.ejected,
        warming_since=now - message.warming_age_millis / 1000 if warming else None,
        weight=message.weight,
        tier=message.tier,
        max_in_flight=message.max_in_flight,
        in_flight=message.in_flight,
        session=message.session,
        zone=message.zone,
        manifest_digest=message.manifest_digest,
    )
