"""Between the balancer's domain and the messages of registry and balancer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from forgemesh.api.balancer.v1 import (
    balancer_service_pb2 as service_pb,
    report_pb2 as report_pb,
    snapshot_pb2 as snapshot_pb,
)
from forgemesh.api.registry.v1 import availability_pb2, instance_pb2
from forgemesh.balancer.application.circuits.permits import Grant
from forgemesh.balancer.application.feed.subscription import Beat, Loads, Update
from forgemesh.balancer.domain.caller import InstanceKey, Told
from forgemesh.balancer.domain.fleet import Member, MemberState
from forgemesh.balancer.domain.policies import LONGEST_NAME
from forgemesh.feed.reports import LONGEST_WORD, counts_from_message, permit_from_message
from forgemesh.feed.snapshots import circuit_from_message, millis, snapshot_to_message
from forgemesh.notation.version_range import LONGEST
from forgemesh.routing.endpoint import Admission, CircuitView, Health
from forgemesh.routing.outcome import PermitOutcome
from forgemesh.routing.scaling import Demanded

MOST_CALLS = 2**48
MOST_IN_FLIGHT = 1_000_000
MOST_WAITING = 2**32
LAST_GENERATION = 2**62
"""More than that nobody can have seen; sums of what is less fit into the messages that tell of them."""
LONGEST_CAUSE = 512
TENURE = "tenure"
"""The label that incarnations share which follow one another after crashes."""

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
        manifest_digest=message.manifest_digest,
        tenure=message.labels.get(TENURE, ""),
    )


def availability(standing: MemberState) -> availability_pb2.Availability:
    """What the registry is told of an instance's health."""
    return availability_pb2.Availability(
        instance_id=standing.member.instance_id,
        incarnation=standing.member.incarnation,
        available=standing.verdict.health is Health.SERVING,
        reason=standing.verdict.reason,
    )


def told(messages: Iterable[report_pb.CallCounts]) -> list[Told]:
    """What a caller has counted, without what cannot be."""
    return [Told(*counts_from_message(message), message.in_flight) for message in messages if _can_be(message)]


def permits(report: report_pb.OutcomeReport) -> list[PermitOutcome]:
    """What became of permits, as far as this release knows the words for it."""
    named = (message for message in report.permits if _is_name(message.permit_id))
    return [outcome for message in named if (outcome := permit_from_message(message)) is not None]


def demands(report: report_pb.OutcomeReport) -> dict[Demanded, int]:
    """How many calls wait, by plugin and versions; for a name that no plugin can have nobody waits."""
    found: dict[Demanded, int] = {}
    for demand in report.demands:
        if demand.waiting and _is_name(demand.plugin_id):
            said = demand.version_range
            one = Demanded(demand.plugin_id, said if len(said) <= LONGEST else "")
            found[one] = min(MOST_WAITING, found.get(one, 0) + demand.waiting)
    return found


def known_circuits(hello: service_pb.SubscriberHello, now: float) -> list[tuple[InstanceKey, CircuitView]]:
    """The circuits of which a subscriber knows from an earlier balancer, without what cannot be."""
    return [
        ((known.instance_id, known.incarnation), _circuit(known.circuit, now))
        for known in hello.circuits
        if known.circuit.generation <= LAST_GENERATION and _is_name(known.instance_id)
    ]


def update_to_message(updates: Update, epoch: int, now: float) -> service_pb.SubscribeResponse:
    """What a subscriber is sent."""
    match updates:
        case Beat():
            return service_pb.SubscribeResponse(
                heartbeat=service_pb.Heartbeat(epoch=epoch, acknowledged=updates.acknowledged)
            )
        case Grant():
            return service_pb.SubscribeResponse(permit=_grant_to_message(updates))
        case Loads():
            return service_pb.SubscribeResponse(loads=_loads_to_message(updates))
        case _:
            return service_pb.SubscribeResponse(snapshot=snapshot_to_message(updates, now))


def _is_name(text: str) -> bool:
    """Whether the registry takes one as long as that, or we make one; what is longer is kept nowhere."""
    return 0 < len(text) <= LONGEST_NAME


def _can_be(message: report_pb.CallCounts) -> bool:
    if not (_is_name(message.plugin_id) and _is_name(message.instance_id)):
        return False
    counts = message.started, message.succeeded, message.failed, message.slow, message.overloaded, message.ignored
    return max(*counts, message.failures_in_a_row) <= MOST_CALLS and message.in_flight <= MOST_IN_FLIGHT


def _circuit(message: snapshot_pb.Circuit, now: float) -> CircuitView:
    view = circuit_from_message(message, now)
    return replace(view, cause=view.cause[:LONGEST_CAUSE], traceparent=view.traceparent[:LONGEST_WORD])


def _grant_to_message(grant: Grant) -> report_pb.PermitGrant:
    instance_id, incarnation = grant.instance_key
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
