"""Events and their messages, and events as the store keeps them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from forgemesh.api.orchestrator.v1 import event_pb2 as pb
from forgemesh.chassis.wire import length_delimited
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.store.blobs import INLINE, put_back, take_out
from forgemesh.orchestrator.store.dispatches import dispatch_from_message, dispatch_to_message
from forgemesh.orchestrator.store.step_events import step_event
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.wire.payloads import (
    failure_from_message,
    failure_to_message,
    optional_payload,
    payload_from_message,
    payload_to_message,
)

SCHEMA_VERSION = 3
"""
Version 1 knew only the events of calls, switches and parallel groups, version 2 not those of rounds. They read the
same, and an event is kept as what knew it first reads it: version 2, unless it is newer.
"""
_USUAL_VERSION = 2
_VERSIONS: Mapping[type, int] = {e.RoundStarted: 3, e.RoundJudged: 3}
OLDEST_VERSION = 1


def stored_event(event: e.Event) -> tuple[bytes, Mapping[bytes, bytes]]:
    """The event as the store keeps it, with schema version and checksum; and the contents that are kept apart."""
    body = step_event(event)
    if body is not None and len(body) <= INLINE:
        return _USUAL_HEAD.pack(_USUAL, zlib.crc32(body)) + _before_event(len(body)) + body, _NOTHING
    body = body or event_to_message(event).SerializeToString()
    if len(body) <= INLINE:
        return record_of(body, version=version_of(event)), _NOTHING
    message = event_to_message(event)
    blobs = take_out(message)
    return record_of(message.SerializeToString() if blobs else body, tuple(blobs), version_of(event)), blobs


def version_of(event: e.Event) -> int:
    """The first schema version in which there were events of this kind, as far as that is told apart."""
    return _VERSIONS.get(type(event.fact), _USUAL_VERSION)


def record_of(body: bytes, blobs: Sequence[bytes] = (), version: int = _USUAL_VERSION) -> bytes:
    """A serialised event with schema version and checksum."""
    head = _HEAD.pack(_VERSION, version, _CHECKSUM, zlib.crc32(body))
    record = head + _before_event(len(body)) + body
    return record + pb.StoredEvent(blobs=blobs).SerializeToString() if blobs else record


_HEAD = struct.Struct("<BBBI")
_VERSION, _CHECKSUM = 0x08, 0x15
"""What stands before them on the wire: a varint of one byte, and 32 bits."""
_USUAL_HEAD, _USUAL = struct.Struct("<3sI"), bytes((_VERSION, _USUAL_VERSION, _CHECKSUM))
_before_event = partial(length_delimited, pb.StoredEvent.EVENT_FIELD_NUMBER)
_NOTHING: Mapping[bytes, bytes] = {}


def checksum(event: e.Event) -> int:
    """CRC-32 of the event's message."""
    return zlib.crc32(event_to_message(event).SerializeToString(deterministic=True))


def opened(data: bytes, record: str) -> pb.StoredEvent:
    """A record of the store; raises DataCorrupted if it does not fit its checksum or comes from a newer release."""
    try:
        stored = pb.StoredEvent.FromString(data)
    except DecodeError as error:
        raise DataCorrupted(record, f"it cannot be decoded: {error}") from error
    if zlib.crc32(stored.event) != stored.checksum:
        raise DataCorrupted(record, "its checksum is wrong")
    if not OLDEST_VERSION <= stored.schema_version <= SCHEMA_VERSION:
        raise DataCorrupted(record, f"it has schema {stored.schema_version}, this release knows {SCHEMA_VERSION}")
    return stored


def event_from_stored(stored: pb.StoredEvent, blobs: Mapping[bytes, bytes], record: str) -> e.Event:
    """The event in a record; raises DataCorrupted if it cannot be read."""
    try:
        message = pb.ExecutionEvent.FromString(stored.event)
        if stored.blobs:
            put_back(message, blobs, record)
        return event_from_message(message)
    except (ValueError, KeyError, DecodeError) as error:
        raise DataCorrupted(record, f"it cannot be decoded: {error}") from error


def event_to_message(event: e.Event) -> pb.ExecutionEvent:
    fact = event.fact
    field, encode = _TO_MESSAGE[type(fact)]
    facts = {field: encode(fact)}
    return pb.ExecutionEvent(sequence=event.sequence, unix_nano=event.at, step_path=getattr(fact, "path", ""), **facts)


def event_from_message(message: pb.ExecutionEvent) -> e.Event:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise ValueError(f"event {message.sequence} says nothing")
    fact = _FROM_MESSAGE[kind](message.step_path, getattr(message, kind))
    return e.Event(message.sequence, message.unix_nano, fact)


def _execution_started(f: e.ExecutionStarted) -> pb.ExecutionStarted:
    return pb.ExecutionStarted(
        workflow=f.workflow,
        workflow_version=f.workflow_version,
        content_hash=f.content_hash,
        input=payload_to_message(f.input),
        trace_id=f.trace_id.hex(),
        parent_span_id=f.parent_span_id.hex(),
        sampled=f.sampled,
        linked_span=f.linked_span,
        deadline_unix_nano=f.deadline,
        priority=f.priority,
        concurrency_key=f.concurrency_key,
        queued=f.queued,
        origin=origin_to_message(f.origin) if f.origin is not None else None,
        run_id=f.run_id,
        rules=f.rules,
    )


def origin_to_message(origin: e.Origin) -> pb.Origin:
    return pb.Origin(
        parent_execution_id=origin.parent_id,
        parent_step_path=origin.parent_path,
        parent_attempt=origin.parent_attempt,
        forked_from=origin.forked_from,
        forked_sequence=origin.forked_sequence,
        forked_trace_id=origin.forked_trace,
        schedule_id=origin.schedule_id,
        parent_run_id=origin.parent_run,
        root_run_id=origin.root_run,
        generation=origin.generation,
        on_close=origin.on_close,
        forked_run_id=origin.forked_run,
        schedule_incarnation_id=origin.schedule_incarnation,
    )


def _origin(message: pb.ExecutionStarted) -> e.Origin | None:
    if not message.HasField("origin"):
        return None
    origin = message.origin
    return e.Origin(
        parent_id=origin.parent_execution_id,
        parent_path=origin.parent_step_path,
        parent_attempt=origin.parent_attempt,
        forked_from=origin.forked_from,
        forked_sequence=origin.forked_sequence,
        forked_trace=origin.forked_trace_id,
        schedule_id=origin.schedule_id,
        parent_run=origin.parent_run_id,
        root_run=origin.root_run_id,
        generation=origin.generation,
        on_close=origin.on_close,
        forked_run=origin.forked_run_id,
        schedule_incarnation=origin.schedule_incarnation_id,
    )


def _execution_started_fact(path: str, m: pb.ExecutionStarted) -> e.ExecutionStarted:
    return e.ExecutionStarted(
        workflow=m.workflow,
        workflow_version=m.workflow_version,
        content_hash=m.content_hash,
        input=payload_from_message(m.input),
        trace_id=bytes.fromhex(m.trace_id),
        parent_span_id=bytes.fromhex(m.parent_span_id),
        sampled=m.sampled,
        linked_span=m.linked_span,
        deadline=m.deadline_unix_nano,
        priority=m.priority,
        concurrency_key=m.concurrency_key,
        queued=m.queued,
        origin=_origin(m),
        run_id=m.run_id,
        rules=m.rules,
    )


def _execution_failed(f: e.ExecutionFailed) -> pb.ExecutionFailed:
    return pb.ExecutionFailed(failure=failure_to_message(f.failure), status=f.status, left_to_do=f.left_to_do)


def _pause_requested(f: e.PauseRequested) -> pb.PauseRequested:
    return pb.PauseRequested(
        by=f.by, reason=f.reason, interrupt=f.interrupt, hold_clock=f.hold_clock, inherited=f.inherited
    )


def _signal_received(f: e.SignalReceived) -> pb.SignalReceived:
    return pb.SignalReceived(name=f.name, payload=payload_to_message(f.payload), signal_id=f.signal_id, by=f.by)


def _result_taken(f: e.ResultTaken) -> pb.ResultTaken:
    return pb.ResultTaken(
        output=payload_to_message(f.output),
        skipped_reason=f.skipped,
        variables={name: payload_to_message(value) for name, value in f.variables.items()},
        failure=failure_to_message(f.failure) if f.failure is not None else None,
        idle=f.idle,
        effect_owner=f.owner,
        items=f.items,
    )


def _effect_taken(f: e.EffectTaken) -> pb.EffectTaken:
    view = {name: payload_to_message(value) for name, value in f.view.items()}
    return pb.EffectTaken(origin_step_path=f.origin_path, view=view)


def _attempt_started(f: e.AttemptStarted) -> pb.AttemptStarted:
    if f.input is not None and not (f.cache_key or f.affinity or f.child_id):
        return pb.AttemptStarted(attempt=f.attempt, input=payload_to_message(f.input))
    return pb.AttemptStarted(
        attempt=f.attempt,
        input=payload_to_message(f.input) if f.input is not None else None,
        cache_key=f.cache_key,
        affinity=f.affinity,
        child_execution_id=f.child_id,
    )


def _attempt_succeeded(f: e.AttemptSucceeded) -> pb.AttemptSucceeded:
    return pb.AttemptSucceeded(
        attempt=f.attempt,
        output=payload_to_message(f.output),
        dispatch=dispatch_to_message(f.dispatch) if f.dispatch is not None else None,
    )


def _attempt_failed(f: e.AttemptFailed) -> pb.AttemptFailed:
    return pb.AttemptFailed(
        attempt=f.attempt,
        failure=failure_to_message(f.failure),
        dispatch=dispatch_to_message(f.dispatch) if f.dispatch is not None else None,
        next_attempt_unix_nano=f.next_at,
        incident=f.incident,
        details=payload_to_message(f.details) if f.details is not None else None,
        fate_unknown=f.fate_unknown,
    )


def _step_blocked(f: e.StepBlocked) -> pb.StepBlocked:
    return pb.StepBlocked(
        attempt=f.attempt,
        reason=f.reason,
        message=f.message,
        until_unix_nano=f.until,
        opened_by_traceparent=f.opened_by,
    )


def _incident_resolved(f: e.IncidentResolved) -> pb.IncidentResolved:
    payload = payload_to_message(f.payload) if f.payload is not None else None
    return pb.IncidentResolved(action=f.action, payload=payload, by=f.by, reason=f.reason)


def _group_started(f: e.GroupStarted) -> pb.GroupStarted:
    items = payload_to_message(f.items) if f.items is not None else None
    return pb.GroupStarted(branches=f.branches, items=items, count=f.count)


def _stop_requested(f: e.StopRequested) -> pb.StopRequested:
    return pb.StopRequested(failure=failure_to_message(f.failure) if f.failure is not None else None)


def _variables_set(f: e.VariablesSet) -> pb.VariablesSet:
    return pb.VariablesSet(values={name: payload_to_message(value) for name, value in f.values.items()})


_TO_MESSAGE: Mapping[type, tuple[str, Callable[[Any], Any]]] = {
    e.ExecutionStarted: ("execution_started", _execution_started),
    e.ExecutionAdmitted: ("execution_admitted", lambda f: pb.ExecutionAdmitted()),
    e.ExecutionSucceeded: (
        "execution_succeeded",
        lambda f: pb.ExecutionSucceeded(output=payload_to_message(f.output)),
    ),
    e.ExecutionFailed: ("execution_failed", _execution_failed),
    e.ExecutionRecovered: (
        "execution_recovered",
        lambda f: pb.ExecutionRecovered(orchestrator_id=f.orchestrator_id, epoch=f.epoch),
    ),
    e.PauseRequested: ("pause_requested", _pause_requested),
    e.ExecutionPaused: ("execution_paused", lambda f: pb.ExecutionPaused()),
    e.ExecutionResumed: ("execution_resumed", lambda f: pb.ExecutionResumed(by=f.by, inherited=f.inherited)),
    e.CancelRequested: ("cancel_requested", lambda f: pb.CancelRequested(by=f.by, reason=f.reason)),
    e.SignalReceived: ("signal_received", _signal_received),
    e.VariablesSet: ("variables_set", _variables_set),
    e.ResultTaken: ("result_taken", _result_taken),
    e.EffectTaken: ("effect_taken", _effect_taken),
    e.AttemptStarted: ("attempt_started", _attempt_started),
    e.AttemptSucceeded: ("attempt_succeeded", _attempt_succeeded),
    e.AttemptFailed: ("attempt_failed", _attempt_failed),
    e.StepBlocked: ("step_blocked", _step_blocked),
    e.StepUnblocked: ("step_unblocked", lambda f: pb.StepUnblocked(attempt=f.attempt)),
    e.IncidentOpened: ("incident_opened", lambda f: pb.IncidentOpened(failure=failure_to_message(f.failure))),
    e.IncidentResolved: ("incident_resolved", _incident_resolved),
    e.GroupStarted: ("group_started", _group_started),
    e.RoundStarted: ("round_started", lambda f: pb.RoundStarted(index=f.index)),
    e.RoundJudged: (
        "round_judged",
        lambda f: pb.RoundJudged(index=f.index, done=f.done, next_round_unix_nano=f.next_at),
    ),
    e.GroupSucceeded: ("group_succeeded", lambda f: pb.GroupSucceeded()),
    e.WaitStarted: ("wait_started", lambda f: pb.WaitStarted(until_unix_nano=f.until, signal=f.signal)),
    e.WaitEnded: (
        "wait_ended",
        lambda f: pb.WaitEnded(output=payload_to_message(f.output), signal_sequence=f.signal),
    ),
    e.StepFailed: ("step_failed", lambda f: pb.StepFailed(failure=failure_to_message(f.failure))),
    e.StepSkipped: ("step_skipped", lambda f: pb.StepSkipped(reason=f.reason)),
    e.StepCancelled: ("step_cancelled", lambda f: pb.StepCancelled()),
    e.StopRequested: ("stop_requested", _stop_requested),
    e.CompensationStarted: (
        "compensation_started",
        lambda f: pb.CompensationStarted(failure=failure_to_message(f.failure)),
    ),
    e.ChildCommandRefused: (
        "child_command_refused",
        lambda f: pb.ChildCommandRefused(
            child_execution_id=f.child_id, command=f.command, failure=failure_to_message(f.failure)
        ),
    ),
    e.ExecutionQueued: ("execution_queued", lambda f: pb.ExecutionQueued()),
}


def _attempt_failed_fact(path: str, m: pb.AttemptFailed) -> e.AttemptFailed:
    dispatch = dispatch_from_message(m.dispatch) if m.HasField("dispatch") else None
    failure = failure_from_message(m.failure)
    details = payload_from_message(m.details) if m.HasField("details") else None
    unknown = m.fate_unknown if m.HasField("fate_unknown") else None
    return e.AttemptFailed(path, m.attempt, failure, dispatch, m.next_attempt_unix_nano, m.incident, details, unknown)


def _incident_resolved_fact(path: str, m: pb.IncidentResolved) -> e.IncidentResolved:
    if m.action not in ("retry", "complete", "fail"):
        raise ValueError(f"an incident cannot be resolved by {m.action!r}")
    return e.IncidentResolved(path, m.action, optional_payload(m, "payload"), m.by, m.reason)  # type: ignore[arg-type]


_FROM_MESSAGE: Mapping[str, Callable[[str, Any], e.Fact]] = {
    "execution_started": _execution_started_fact,
    "execution_admitted": lambda path, m: e.ExecutionAdmitted(),
    "execution_succeeded": lambda path, m: e.ExecutionSucceeded(payload_from_message(m.output)),
    "execution_failed": lambda path, m: e.ExecutionFailed(
        failure_from_message(m.failure), m.status or "FAILED", tuple(m.left_to_do)
    ),
    "execution_recovered": lambda path, m: e.ExecutionRecovered(m.orchestrator_id, m.epoch),
    "pause_requested": lambda path, m: e.PauseRequested(m.by, m.reason, m.interrupt, m.hold_clock, m.inherited),
    "execution_paused": lambda path, m: e.ExecutionPaused(),
    "execution_resumed": lambda path, m: e.ExecutionResumed(m.by, m.inherited),
    "cancel_requested": lambda path, m: e.CancelRequested(m.by, m.reason),
    "signal_received": lambda path, m: e.SignalReceived(m.name, payload_from_message(m.payload), m.signal_id, m.by),
    "variables_set": lambda path, m: e.VariablesSet(path, _payloads(m.values)),
    "result_taken": lambda path, m: e.ResultTaken(
        path,
        payload_from_message(m.output),
        m.skipped_reason,
        _payloads(m.variables),
        failure_from_message(m.failure) if m.HasField("failure") else None,
        m.idle,
        m.effect_owner,
        tuple(m.items),
    ),
    "effect_taken": lambda path, m: e.EffectTaken(path, m.origin_step_path, _payloads(m.view)),
    "attempt_started": lambda path, m: e.AttemptStarted(
        path, m.attempt, optional_payload(m, "input"), m.cache_key, m.affinity, m.child_execution_id
    ),
    "attempt_succeeded": lambda path, m: e.AttemptSucceeded(
        path,
        m.attempt,
        payload_from_message(m.output),
        dispatch_from_message(m.dispatch) if m.HasField("dispatch") else None,
    ),
    "attempt_failed": _attempt_failed_fact,
    "step_blocked": lambda path, m: e.StepBlocked(
        path, m.attempt, m.reason, m.message, m.until_unix_nano, m.opened_by_traceparent
    ),
    "step_unblocked": lambda path, m: e.StepUnblocked(path, m.attempt),
    "incident_opened": lambda path, m: e.IncidentOpened(path, failure_from_message(m.failure)),
    "incident_resolved": _incident_resolved_fact,
    "group_started": lambda path, m: e.GroupStarted(path, tuple(m.branches), optional_payload(m, "items"), m.count),
    "round_started": lambda path, m: e.RoundStarted(path, m.index),
    "round_judged": lambda path, m: e.RoundJudged(path, m.index, m.done, m.next_round_unix_nano),
    "group_succeeded": lambda path, m: e.GroupSucceeded(path),
    "wait_started": lambda path, m: e.WaitStarted(path, m.until_unix_nano, m.signal),
    "wait_ended": lambda path, m: e.WaitEnded(path, payload_from_message(m.output), m.signal_sequence),
    "step_failed": lambda path, m: e.StepFailed(path, failure_from_message(m.failure)),
    "step_skipped": lambda path, m: e.StepSkipped(path, m.reason),
    "step_cancelled": lambda path, m: e.StepCancelled(path),
    "stop_requested": lambda path, m: e.StopRequested(
        path, failure_from_message(m.failure) if m.HasField("failure") else None
    ),
    "compensation_started": lambda path, m: e.CompensationStarted(failure_from_message(m.failure)),
    "child_command_refused": lambda path, m: e.ChildCommandRefused(
        path, m.child_execution_id, m.command, failure_from_message(m.failure)
    ),
    "execution_queued": lambda path, m: e.ExecutionQueued(),
}


def _payloads(values: Mapping[str, Any]) -> dict[str, Payload]:
    return {name: payload_from_message(value) for name, value in values.items()}
