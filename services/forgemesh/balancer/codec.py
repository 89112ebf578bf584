"""Between the balancer's domain and the messages of registry and balancer."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, snapshot_pb2 as pb
from forgemesh.api.registry.v1 import availability_pb2, instance_pb2
from forgemesh.balancer.application.subscription import Beat, News
from forgemesh.balancer.domain.fleet import Member, Standing
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.snapshot import Policy, Revision, Snapshot

_HEALTH = {
    Health.UNCHECKED: pb.HEALTH_UNSPECIFIED,
    Health.SERVING: pb.HEALTH_SERVING,
    Health.NOT_SERVING: pb.HEALTH_NOT_SERVING,
    Health.UNREACHABLE: pb.HEALTH_UNREACHABLE,
}
_ADMISSION = {
    Admission.OPEN: pb.ADMISSION_OPEN,
    Admission.DRAINING: pb.ADMISSION_DRAINING,
    Admission.OUT: pb.ADMISSION_OUT,
    Admission.CRASH_LOOP: pb.ADMISSION_CRASH_LOOP,
}
_ADMISSION_BY_STATE = {
    instance_pb2.INSTANCE_STATE_UNSPECIFIED: Admission.OPEN,
    instance_pb2.INSTANCE_STATE_ACTIVE: Admission.OPEN,
    instance_pb2.INSTANCE_STATE_DRAINING: Admission.DRAINING,
    instance_pb2.INSTANCE_STATE_CRASH_LOOP: Admission.CRASH_LOOP,
}
"""Any other state keeps calls away."""
_CIRCUIT = {
    CircuitState.CLOSED: pb.CIRCUIT_STATE_CLOSED,
    CircuitState.OPEN: pb.CIRCUIT_STATE_OPEN,
    CircuitState.HALF_OPEN: pb.CIRCUIT_STATE_HALF_OPEN,
    CircuitState.FORCED_OPEN: pb.CIRCUIT_STATE_OPEN,
}
_POLICY = {Policy.ROUND_ROBIN: pb.POLICY_ROUND_ROBIN}


def member(message: instance_pb2.Instance) -> Member:
    """An instance as the registry tells of it."""
    return Member(
        instance_id=message.instance_id,
        incarnation=message.incarnation,
        plugin_id=message.plugin_id,
        plugin_version=message.plugin_version,
        address=message.address,
        health_address=message.health_address or message.address,
        max_in_flight=message.max_in_flight,
        weight=message.weight or 1,
        tier=message.tier,
        zone=message.zone,
        session=message.session,
        admission=_ADMISSION_BY_STATE.get(message.state, Admission.OUT),
        admission_reason=message.state_reason,
    )


def availability(standing: Standing) -> availability_pb2.Availability:
    """What the registry is told of an instance's health."""
    return availability_pb2.Availability(
        instance_id=standing.member.instance_id,
        incarnation=standing.member.incarnation,
        available=standing.verdict.health is Health.SERVING,
        reason=standing.verdict.reason,
    )


def news_to_message(news: News, epoch: int, now: float) -> service_pb.SubscribeResponse:
    """What a subscriber is sent."""
    if isinstance(news, Beat):
        return service_pb.SubscribeResponse(heartbeat=service_pb.Heartbeat(epoch=epoch))
    return service_pb.SubscribeResponse(snapshot=to_message(news, now))


def to_message(snapshot: Snapshot, now: float) -> pb.PluginSnapshot:
    """A snapshot that leaves now: its durations count from its receipt."""
    return pb.PluginSnapshot(
        plugin_id=snapshot.plugin_id,
        revision=pb.FeedRevision(epoch=snapshot.revision.epoch, revision=snapshot.revision.revision),
        policy=_POLICY[snapshot.policy],
        endpoints=[_endpoint_to_message(endpoint, now) for endpoint in snapshot.endpoints],
    )


def from_revision(message: pb.FeedRevision) -> Revision:
    """A point in a balancer's history."""
    return Revision(message.epoch, message.revision)


def _endpoint_to_message(endpoint: Endpoint, now: float) -> pb.Endpoint:
    return pb.Endpoint(
        instance_id=endpoint.instance_id,
        incarnation=endpoint.incarnation,
        address=endpoint.address,
        plugin_version=endpoint.plugin_version,
        health=_HEALTH[endpoint.health],
        admission=_ADMISSION[endpoint.admission],
        admission_reason=endpoint.admission_reason,
        circuit=_circuit_to_message(endpoint.circuit, now),
        weight=endpoint.weight,
        tier=endpoint.tier,
        max_in_flight=endpoint.max_in_flight,
        in_flight=endpoint.in_flight,
        session=endpoint.session,
        zone=endpoint.zone,
        health_reason=endpoint.health_reason,
        health_age_millis=_millis(now - endpoint.health_since),
    )


def _circuit_to_message(circuit: CircuitView, now: float) -> pb.Circuit:
    waiting = circuit.open_until - now if circuit.state is CircuitState.OPEN else 0.0
    return pb.Circuit(state=_CIRCUIT[circuit.state], generation=circuit.generation, open_for_millis=_millis(waiting))


def _millis(seconds: float) -> int:
    return max(0, round(seconds * 1000))
