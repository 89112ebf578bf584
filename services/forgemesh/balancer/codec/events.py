"""Events between the API and the domain."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, event_pb2 as pb
from forgemesh.balancer.application.events.events import Told, Watched
from forgemesh.balancer.domain.event_log import Position, RecordedEvent
from forgemesh.balancer.domain.events import (
    Author,
    Change,
    CircuitChange,
    EjectionChange,
    HealthChange,
    LoadChange,
    PolicyChange,
)
from forgemesh.chassis.violations import Violations
from forgemesh.feed.snapshots import CIRCUIT, HEALTH, circuit_to_message

LONGEST_NAME = 128
LONGEST_REASON = 512


def author(message: pb.Author, found: Violations) -> Author:
    """Who wants something; notes what is wrong with it."""
    named = bool(message.actor.strip()) and len(message.actor) <= LONGEST_NAME
    found.unless(named, "author.actor", f"must say in 1 to {LONGEST_NAME} characters who wants it")
    short = len(message.reason) <= LONGEST_REASON
    found.unless(short, "author.reason", f"must have at most {LONGEST_REASON} characters")
    return Author(message.actor, message.reason)


def author_to_message(one: Author) -> pb.Author:
    """Who did something."""
    return pb.Author(actor=one.actor, reason=one.reason)


def watch(request: service_pb.WatchEventsRequest) -> tuple[Position | None, Watched]:
    """From where to tell, and what."""
    after = request.resume_after
    resume = Position(after.epoch, after.number) if request.HasField("resume_after") else None
    return resume, Watched(request.plugin_id, request.instance_id, request.history_only)


def told_to_message(told: Told, now: float) -> service_pb.WatchEventsResponse:
    """One step of a watch; `now` is on the clock of the circuits."""
    position = _position(told.position)
    if told.entry is None:
        return service_pb.WatchEventsResponse(position=position)
    return service_pb.WatchEventsResponse(event=_event(told.entry, now), position=position)


def _event(entry: RecordedEvent, now: float) -> pb.BalancerEvent:
    event = entry.event
    message = pb.BalancerEvent(
        position=_position(entry.position),
        plugin_id=event.plugin_id,
        instance_id=event.instance_id,
        incarnation=event.incarnation,
    )
    message.at.FromMicroseconds(round(entry.at * 1e6))
    if event.author is not None:
        message.author.CopyFrom(author_to_message(event.author))
    _write(message, event.change, now)
    return message


def _write(message: pb.BalancerEvent, change: Change, now: float) -> None:
    match change:
        case CircuitChange():
            after = circuit_to_message(change.after, now)
            message.circuit.CopyFrom(pb.CircuitChange(before=CIRCUIT[change.before], after=after))
        case HealthChange():
            before, health = HEALTH[change.before], HEALTH[change.after]
            message.health.CopyFrom(pb.HealthChange(before=before, after=health, reason=change.reason))
        case LoadChange():
            message.load.CopyFrom(
                pb.LoadChange(
                    overloaded=change.overloaded, in_flight=change.in_flight, max_in_flight=change.max_in_flight
                )
            )
        case EjectionChange():
            message.ejection.CopyFrom(pb.EjectionChange(ejected=change.ejected, reason=change.reason))
        case PolicyChange():
            message.policy.CopyFrom(pb.PolicyChange(version=change.version))


def _position(position: Position) -> pb.EventPosition:
    return pb.EventPosition(epoch=position.epoch, number=position.number)
