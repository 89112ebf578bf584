"""The balancer's snapshots as routing values; durations count from receipt."""

from __future__ import annotations

import time

from forgemesh.api.balancer.v1 import snapshot_pb2 as pb
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.snapshot import Policy, Revision, Snapshot

_HEALTH = {
    pb.HEALTH_UNSPECIFIED: Health.UNCHECKED,
    pb.HEALTH_SERVING: Health.SERVING,
    pb.HEALTH_NOT_SERVING: Health.NOT_SERVING,
    pb.HEALTH_UNREACHABLE: Health.UNREACHABLE,
}
_ADMISSION = {
    pb.ADMISSION_UNSPECIFIED: Admission.OPEN,
    pb.ADMISSION_OPEN: Admission.OPEN,
    pb.ADMISSION_DRAINING: Admission.DRAINING,
    pb.ADMISSION_OUT: Admission.OUT,
    pb.ADMISSION_CRASH_LOOP: Admission.CRASH_LOOP,
}
_CIRCUIT = {
    pb.CIRCUIT_STATE_UNSPECIFIED: CircuitState.CLOSED,
    pb.CIRCUIT_STATE_CLOSED: CircuitState.CLOSED,
    pb.CIRCUIT_STATE_OPEN: CircuitState.OPEN,
    pb.CIRCUIT_STATE_HALF_OPEN: CircuitState.HALF_OPEN,
}


def revision_from_message(message: pb.FeedRevision) -> Revision:
    return Revision(message.epoch, message.revision)


def snapshot_from_message(message: pb.PluginSnapshot) -> Snapshot:
    """Values that this release does not know read as the most careful one."""
    now = time.monotonic()
    endpoints = tuple(_endpoint(endpoint, now) for endpoint in message.endpoints)
    return Snapshot(message.plugin_id, revision_from_message(message.revision), Policy.ROUND_ROBIN, endpoints)


def _endpoint(message: pb.Endpoint, now: float) -> Endpoint:
    circuit = CircuitView(
        _CIRCUIT.get(message.circuit.state, CircuitState.OPEN),
        message.circuit.generation,
        now + message.circuit.open_for_millis / 1000,
    )
    return Endpoint(
        instance_id=message.instance_id,
        incarnation=message.incarnation,
        address=message.address,
        plugin_version=message.plugin_version,
        health=_HEALTH.get(message.health, Health.UNCHECKED),
        health_reason=message.health_reason,
        health_since=now - message.health_age_millis / 1000,
        admission=_ADMISSION.get(message.admission, Admission.OUT),
        admission_reason=message.admission_reason,
        circuit=circuit,
        weight=message.weight,
        tier=message.tier,
        max_in_flight=message.max_in_flight,
        in_flight=message.in_flight,
        session=message.session,
        zone=message.zone,
    )
