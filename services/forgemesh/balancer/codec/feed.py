"""Between the balancer's domain and the messages of registry and balancer."""

from __future__ import annotations

from collections.abc import Iterable

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, report_pb2 as report_pb
from forgemesh.api.registry.v1 import availability_pb2, instance_pb2
from forgemesh.balancer.application.permits import Grant
from forgemesh.balancer.application.subscription import Beat, Loads, News
from forgemesh.balancer.domain.caller import Place, Told
from forgemesh.balancer.domain.fleet import Member, Standing
from forgemesh.feed.reports import counts_from_message, permit_from_message
from forgemesh.feed.snapshots import circuit_from_message, millis, snapshot_to_message
from forgemesh.routing.endpoint import Admission, CircuitView, Health
from forgemesh.routing.outcome import PermitOutcome

_ADMISSION_BY_STATE = {
    instance_pb2.INSTANCE_STATE_UNSPECIFIED: Admission.OPEN,
    instance_pb2.INSTANCE_STATE_ACTIVE: Admission.OPEN,
    instance_pb2.INSTANCE_STATE_DRAINING: Admission.DRAINING,
    instance_pb2.INSTANCE_STATE_CRASH_LOOP: Admission.CRASH_LOOP,
}
"""Any other state keeps calls away."""

MAX_GENERATION = 1 << 53
"""A circuit that moved a thousand times a second would need 280,000 years to get here."""


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


def told(messages: Iterable[report_pb.CallCounts]) -> list[Told]:
    """What a caller has counted."""
    return [Told(*counts_from_message(message), message.in_flight) for message in messages]


def permits(report: report_pb.OutcomeReport) -> list[PermitOutcome]:
    """What became of permits, as far as this release knows the words for it."""
    return [outcome for message in report.permits if (outcome := permit_from_message(message)) is not None]


def waiting(report: report_pb.OutcomeReport) -> dict[str, int]:
    """How many calls wait, by plugin."""
    return {demand.plugin_id: demand.waiting for demand in report.demands if demand.waiting}


def known_circuits(hello: service_pb.SubscriberHello, now: float) -> list[tuple[Place, CircuitView]]:
    """The circuits of which a subscriber knows from an earlier balancer; no circuit gets to senseless generations."""
    return [
        ((known.instance_id, known.incarnation), circuit_from_message(known.circuit, now))
        for known in hello.circuits
        if known.circuit.generation < MAX_GENERATION
    ]


def news_to_message(news: News, epoch: int, now: float) -> service_pb.SubscribeResponse:
    """What a subscriber is sent."""
    match news:
        case Beat():
            return service_pb.SubscribeResponse(
                heartbeat=service_pb.Heartbeat(epoch=epoch, acknowledged=news.acknowledged)
            )
        case Grant():
            return service_pb.SubscribeResponse(permit=_grant_to_message(news))
        case Loads():
            return service_pb.SubscribeResponse(loads=_loads_to_message(news))
        case _:
            return service_pb.SubscribeResponse(snapshot=snapshot_to_message(news, now))


def _grant_to_message(grant: Grant) -> report_pb.PermitGrant:
    instance_id, incarnation = grant.place
    return report_pb.PermitGrant(
        permit_id=grant.permit_id,
        plugin_id=grant.plugin_id,
        instance_id=instance_id,
        incarnation=incarnation,
        generation=grant.generation,
        lease_millis=millis(grant.lease),
        after_sequence=grant.after_sequence,
    )


def _loads_to_message(loads: Loads) -> report_pb.LoadHints:
    return report_pb.LoadHints(
        plugin_id=loads.plugin_id,
        hints=[
            report_pb.LoadHint(
                instance_id=one.instance_id,
                incarnation=one.incarnation,
                in_flight=one.in_flight,
                in_flight_of_subscriber=one.own,
                load_weight=one.weight,
            )
            for one in loads.busy
        ],
    )
