"""Events between the API and the domain."""

from __future__ import annotations

from forgemesh.api.registry.v1 import event_pb2 as pb, registry_service_pb2 as service_pb
from forgemesh.chassis.violations import Violations
from forgemesh.registry.application.event_publisher import Told
from forgemesh.registry.codec import instances
from forgemesh.registry.domain.event import Event, Kind, Reported

LONGEST = 64 * 1024
_KINDS = {kind: pb.EventKind.Value(f"EVENT_KIND_{kind.name}") for kind in Kind}


def reported(request: service_pb.ReportEventsRequest) -> list[Reported]:
    """What a reporter has seen; raises InvalidRequest."""
    found = Violations()
    named = 0 < len(request.reporter_id) <= 256
    found.unless(named, "reporter_id", "must be 1 to 256 characters, made up at the start of the process")
    found.unless(request.first > 0, "first", "must be the number of the first event, counted from 1")
    for index, event in enumerate(request.events):
        kind = event.kind in pb.EventKind.values() and event.kind != pb.EVENT_KIND_UNSPECIFIED
        found.unless(kind, f"events[{index}].kind", "must be one of EventKind")
        found.unless(event.ByteSize() <= LONGEST, f"events[{index}]", f"must have at most {LONGEST} bytes")
    found.refuse()
    return [Reported(event.plugin_id, event.SerializeToString()) for event in request.events]


def told_to_message(told: Told) -> service_pb.WatchEventsResponse:
    """One step of a watch of events."""
    position = instances.to_revision(told.position)
    if told.event is None:
        return service_pb.WatchEventsResponse(position=position)
    event = _message(told.event)
    event.position.CopyFrom(position)
    return service_pb.WatchEventsResponse(event=event, position=position)


def _message(event: Event | Reported) -> pb.Event:
    if isinstance(event, Reported):
        return pb.Event.FromString(event.content)
    message = pb.Event(
        kind=_KINDS[event.kind],
        plugin_id=event.plugin_id,
        plugin_version=event.plugin_version,
        instance_id=event.instance_id,
        incarnation=event.incarnation,
        message=event.message,
        source="registry",
        facts=dict(event.facts),
    )
    message.at.FromMicroseconds(round(event.at * 1e6))
    return message
