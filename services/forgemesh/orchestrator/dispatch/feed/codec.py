"""What a subscriber of the balancer's feed says and hears, as messages."""

from __future__ import annotations

from collections.abc import Iterable

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, report_pb2 as pb
from forgemesh.feed.reports import counts_to_message, permit_to_message
from forgemesh.feed.snapshots import circuit_to_message, revision_to_message
from forgemesh.orchestrator.dispatch.outcome_counters import Counted
from forgemesh.orchestrator.dispatch.outcome_recorder import Report
from forgemesh.routing.eligibility import RemoteLoad
from forgemesh.routing.snapshot import Revision, Snapshot


def hello_to_message(
    subscriber_id: str, boot_id: str, counted: Iterable[Counted], snapshots: Iterable[Snapshot], now: float
) -> service_pb.SubscribeRequest:
    """The subscriber introduces itself, with what it has counted and with the circuits that it knows of."""
    circuits = [
        pb.KnownCircuit(
            plugin_id=snapshot.plugin_id,
            instance_id=endpoint.instance_id,
            incarnation=endpoint.incarnation,
            circuit=circuit_to_message(endpoint.circuit, now),
        )
        for snapshot in snapshots
        for endpoint in snapshot.endpoints
        if endpoint.circuit.generation
    ]
    return service_pb.SubscribeRequest(
        hello=service_pb.SubscriberHello(
            subscriber_id=subscriber_id,
            boot_id=boot_id,
            baseline=[counts_to_message(*one) for one in counted],
            circuits=circuits,
        )
    )


def report_to_message(report: Report) -> service_pb.SubscribeRequest:
    """What the subscriber has seen of its calls."""
    return service_pb.SubscribeRequest(
        report=pb.OutcomeReport(
            sequence=report.sequence,
            counts=[counts_to_message(*one) for one in report.counts],
            permits=[permit_to_message(outcome) for outcome in report.permits],
            demands=[pb.PluginDemand(**one._asdict(), waiting=waiting) for one, waiting in report.demands.items()],
        )
    )


def ack_to_message(plugin_id: str, revision: Revision) -> service_pb.SubscribeRequest:
    """A snapshot has been taken on."""
    ack = service_pb.SnapshotAck(plugin_id=plugin_id, revision=revision_to_message(revision))
    return service_pb.SubscribeRequest(ack=ack)


def nack_to_message(plugin_id: str, revision: Revision, reason: str) -> service_pb.SubscribeRequest:
    """A snapshot cannot be used."""
    nack = service_pb.SnapshotNack(plugin_id=plugin_id, revision=revision_to_message(revision), reason=reason)
    return service_pb.SubscribeRequest(nack=nack)


def loads_from_message(message: pb.LoadHints, incarnations: dict[str, int], now: float) -> dict[str, RemoteLoad]:
    """What others do on the instances of a plugin, as of now; of other registrations than these nothing is known."""
    return {
        hint.instance_id: RemoteLoad(max(0, hint.in_flight - hint.in_flight_of_subscriber), now, hint.load_weight)
        for hint in message.hints
        if incarnations.get(hint.instance_id) == hint.incarnation
    }
