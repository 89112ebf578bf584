"""Instances between the API and the domain."""

from __future__ import annotations

from forgemesh.api.registry.v1 import instance_pb2 as pb, registry_service_pb2 as service_pb
from forgemesh.registry.application.registry import Everything, Quiet, Step
from forgemesh.registry.domain.changes import Changed, Gone, GoneReason
from forgemesh.registry.domain.instance import Instance, Registration, Revision, State

_REASONS = {
    GoneReason.DEREGISTERED: service_pb.GONE_REASON_DEREGISTERED,
    GoneReason.EXPIRED: service_pb.GONE_REASON_EXPIRED,
}
_STATES = {
    State.ACTIVE: pb.INSTANCE_STATE_ACTIVE,
    State.DRAINING: pb.INSTANCE_STATE_DRAINING,
    State.CRASH_LOOP: pb.INSTANCE_STATE_CRASH_LOOP,
}
_STATE_OF = {number: state for state, number in _STATES.items()}


def from_message(message: pb.Instance) -> Instance:
    """What an instance says of itself; the registry's own fields are left out."""
    return Instance(
        instance_id=message.instance_id,
        plugin_id=message.plugin_id,
        plugin_version=message.plugin_version,
        address=message.address,
        health_address=message.health_address,
        max_in_flight=message.max_in_flight,
        weight=message.weight,
        tier=message.tier,
        zone=message.zone,
        labels=tuple(sorted(message.labels.items())),
        session=message.session,
        state=_STATE_OF.get(message.state, State.ACTIVE),
        state_reason=message.state_reason if message.state in _STATE_OF else "",
    )


def from_stored(message: pb.Instance, *, owner: bytes, ttl: float, quarantine: str = "") -> Registration:
    """A registration as it was saved."""
    return Registration(
        instance=from_message(message),
        incarnation=message.incarnation,
        owner=owner,
        ttl=ttl,
        registered_at=message.registered_at.ToMicroseconds() / 1e6,
        suspect=message.suspect,
        quarantine=quarantine,
        manifest_digest=message.manifest_digest,
    )


def to_message(registration: Registration) -> pb.Instance:
    """A registered instance, without its owner's secret."""
    instance = registration.instance
    message = pb.Instance(
        instance_id=instance.instance_id,
        plugin_id=instance.plugin_id,
        plugin_version=instance.plugin_version,
        address=instance.address,
        health_address=instance.health_address,
        incarnation=registration.incarnation,
        max_in_flight=instance.max_in_flight,
        weight=instance.weight,
        tier=instance.tier,
        zone=instance.zone,
        labels=dict(instance.labels),
        session=instance.session,
        state=pb.INSTANCE_STATE_QUARANTINED if registration.quarantine else _STATES[instance.state],
        state_reason=registration.quarantine or instance.state_reason,
        suspect=registration.suspect,
        manifest_digest=registration.manifest_digest,
    )
    message.registered_at.FromMicroseconds(round(registration.registered_at * 1e6))
    return message


def to_revision(revision: Revision) -> pb.Revision:
    """A point in the registry's history."""
    return pb.Revision(epoch=revision.epoch, revision=revision.revision)


def from_revision(message: pb.Revision) -> Revision:
    """A point in the registry's history."""
    return Revision(message.epoch, message.revision)


def step_to_message(step: Step, epoch: int) -> service_pb.WatchInstancesResponse:
    """One step of a watch."""
    response = service_pb.WatchInstancesResponse(revision=pb.Revision(epoch=epoch, revision=step.revision))
    match step:
        case Everything(registrations=registrations):
            response.all.SetInParent()
            response.all.instances.extend(to_message(registration) for registration in registrations)
        case Changed(registration=registration):
            response.changed.CopyFrom(to_message(registration))
        case Gone(instance_id=instance_id, incarnation=incarnation, reason=reason):
            response.gone.instance_id = instance_id
            response.gone.incarnation = incarnation
            response.gone.reason = _REASONS[reason]
        case Quiet():
            response.bookmark.SetInParent()
    return response
