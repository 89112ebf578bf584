"""Between the balancer's domain and the messages of registry and balancer."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb
from forgemesh.api.registry.v1 import availability_pb2, instance_pb2
from forgemesh.balancer.application.subscription import Beat, News
from forgemesh.balancer.domain.fleet import Member, Standing
from forgemesh.feed.snapshots import snapshot_to_message
from forgemesh.routing.endpoint import Admission, Health

_ADMISSION_BY_STATE = {
    instance_pb2.INSTANCE_STATE_UNSPECIFIED: Admission.OPEN,
    instance_pb2.INSTANCE_STATE_ACTIVE: Admission.OPEN,
    instance_pb2.INSTANCE_STATE_DRAINING: Admission.DRAINING,
    instance_pb2.INSTANCE_STATE_CRASH_LOOP: Admission.CRASH_LOOP,
}
"""Any other state keeps calls away."""


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
    return service_pb.SubscribeResponse(snapshot=snapshot_to_message(news, now))
