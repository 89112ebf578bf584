"""Domain values and their messages, both ways."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.orchestrator.v1 import definition_pb2, event_pb2, execution_pb2
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.faults import Code
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Definition
from forgemesh.orchestrator.domain.failure import Failure
from forgemesh.orchestrator.domain.payload import JSON, Payload
from forgemesh.orchestrator.domain.retry import LONGEST_WISH, SECOND
from forgemesh.orchestrator.domain.state import ExecutionState, Status, StepState, StepStatus
from forgemesh.orchestrator.ports import ExecutionRow

SCHEMA_VERSION = 1
MAX_MESSAGE = SESSION_LIMIT - 16 * 1024
MAX_TEXT = 4096
MAX_REASON = 200
MAX_FACTS = 32
MAX_PATH = 10_000


def payload_to_message(payload: Payload) -> payload_pb2.Payload:
    if payload.media_type == JSON and not payload.metadata:
        return payload_pb2.Payload(data=payload.data)
    return payload_pb2.Payload(media_type=payload.media_type, data=payload.data, metadata=payload.metadata)


def payload_from_message(message: payload_pb2.Payload) -> Payload:
    metadata = message.metadata
    return Payload(message.data, message.media_type or JSON, dict(metadata) if metadata else {})


def failure_to_message(failure: Failure) -> failure_pb2.Failure:
    return failure_pb2.Failure(
        code=int(failure.code),
        reason=failure.reason,
        message=failure.message,
        metadata=failure.metadata,
        retryable=failure.retryable,
        step_path=failure.step_path,
        retry_after_millis=round(min(failure.retry_after, LONGEST_WISH) * 1000),
    )


def failure_from_message(message: failure_pb2.Failure) -> Failure:
    code = Code(message.code) if message.code in Code._value2member_map_ else Code.UNKNOWN
    if code is Code.OK:
        code = Code.UNKNOWN
    return Failure(
        code,
        message.reason or code.name,
        message.message,
        dict(message.metadata),
        message.retryable,
        message.step_path,
        min(max(0, message.retry_after_millis) / 1000, LONGEST_WISH),
    )


def foreign_failure(message: failure_pb2.Failure) -> Failure:
    """What a plugin said, within bounds: it is kept once more for every group around the step."""
    failure = failure_from_message(message)
    return replace(
        failure,
        reason=failure.reason[:MAX_REASON],
        message=failure.message[:MAX_TEXT],
        metadata={k[:MAX_REASON]: failure.metadata[k][:MAX_TEXT] for k in sorted(failure.metadata)[:MAX_FACTS]},
        step_path=failure.step_path[:MAX_PATH],
    )


def stored_event(event: e.Event) -> bytes:
    """The event as the store keeps it, with schema version and checksum."""
    body = event_to_message(event).SerializeToString()
    return event_pb2.StoredEvent(
        schema_version=SCHEMA_VERSION, checksum=zlib.crc32(body), event=body
    ).SerializeToString()


def event_from_stored(data: bytes, record: str) -> e.Event:
    """Raises DataCorrupted if the record does not fit its checksum or comes from a newer release."""
    try:
        stored = event_pb2.StoredEvent.FromString(data)
        if zlib.crc32(stored.event) != stored.checksum:
            raise DataCorrupted(record, "its checksum is wrong")
        if stored.schema_version != SCHEMA_VERSION:
            raise DataCorrupted(record, f"it has schema {stored.schema_version}, this release knows {SCHEMA_VERSION}")
        return event_from_message(event_pb2.ExecutionEvent.FromString(stored.event))
    except (ValueError, DecodeError) as error:
        raise DataCorrupted(record, f"it cannot be decoded: {error}") from error


def event_to_message(event: e.Event) -> event_pb2.ExecutionEvent:
    fact = event.fact
    return event_pb2.ExecutionEvent(
        sequence=event.sequence,
        unix_nano=event.at,
        step_path=getattr(fact, "path", ""),
        **_TO_MESSAGE[type(fact)](fact),
    )


def event_from_message(message: event_pb2.ExecutionEvent) -> e.Event:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise ValueError(f"event {message.sequence} says nothing")
    fact = _FROM_MESSAGE[kind](message.step_path, getattr(message, kind))
    return e.Event(message.sequence, message.unix_nano, fact)


def _execution_started(f: e.ExecutionStarted) -> event_pb2.ExecutionStarted:
    return event_pb2.ExecutionStarted(
        workflow=f.workflow,
        workflow_version=f.workflow_version,
        content_hash=f.content_hash,
        input=payload_to_message(f.input),
        trace_id=f.trace_id.hex(),
        parent_span_id=f.parent_span_id.hex(),
        sampled=f.sampled,
        linked_span=f.linked_span,
        deadline_unix_nano=f.deadline,
    )


def _attempt_failed(f: e.AttemptFailed) -> event_pb2.AttemptFailed:
    return event_pb2.AttemptFailed(
        attempt=f.attempt,
        failure=failure_to_message(f.failure),
        dispatch=_dispatch_to_message(f.dispatch) if f.dispatch is not None else None,
        next_attempt_unix_nano=f.next_at,
    )


_TO_MESSAGE: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    e.ExecutionStarted: lambda f: {"execution_started": _execution_started(f)},
    e.ExecutionSucceeded: lambda f: {
        "execution_succeeded": event_pb2.ExecutionSucceeded(output=payload_to_message(f.output))
    },
    e.ExecutionFailed: lambda f: {"execution_failed": event_pb2.ExecutionFailed(failure=failure_to_message(f.failure))},
    e.ExecutionRecovered: lambda f: {
        "execution_recovered": event_pb2.ExecutionRecovered(orchestrator_id=f.orchestrator_id, epoch=f.epoch)
    },
    e.AttemptStarted: lambda f: {
        "attempt_started": event_pb2.AttemptStarted(
            attempt=f.attempt, input=payload_to_message(f.input) if f.input is not None else None
        )
    },
    e.AttemptSucceeded: lambda f: {
        "attempt_succeeded": event_pb2.AttemptSucceeded(
            attempt=f.attempt, output=payload_to_message(f.output), dispatch=_dispatch_to_message(f.dispatch)
        )
    },
    e.AttemptFailed: lambda f: {"attempt_failed": _attempt_failed(f)},
    e.StepBlocked: lambda f: {
        "step_blocked": event_pb2.StepBlocked(attempt=f.attempt, reason=f.reason, message=f.message)
    },
    e.StepUnblocked: lambda f: {"step_unblocked": event_pb2.StepUnblocked(attempt=f.attempt)},
    e.GroupStarted: lambda f: {"group_started": event_pb2.GroupStarted(branches=f.branches)},
    e.GroupSucceeded: lambda f: {"group_succeeded": event_pb2.GroupSucceeded()},
    e.StepFailed: lambda f: {"step_failed": event_pb2.StepFailed(failure=failure_to_message(f.failure))},
    e.StepSkipped: lambda f: {"step_skipped": event_pb2.StepSkipped(reason=f.reason)},
    e.StepCancelled: lambda f: {"step_cancelled": event_pb2.StepCancelled()},
    e.StopRequested: lambda f: {"stop_requested": event_pb2.StopRequested(failure=failure_to_message(f.failure))},
}

_FROM_MESSAGE: Mapping[str, Callable[[str, Any], e.Fact]] = {
    "execution_started": lambda path, m: e.ExecutionStarted(
        workflow=m.workflow,
        workflow_version=m.workflow_version,
        content_hash=m.content_hash,
        input=payload_from_message(m.input),
        trace_id=bytes.fromhex(m.trace_id),
        parent_span_id=bytes.fromhex(m.parent_span_id),
        sampled=m.sampled,
        linked_span=m.linked_span,
        deadline=m.deadline_unix_nano,
    ),
    "execution_succeeded": lambda path, m: e.ExecutionSucceeded(payload_from_message(m.output)),
    "execution_failed": lambda path, m: e.ExecutionFailed(failure_from_message(m.failure)),
    "execution_recovered": lambda path, m: e.ExecutionRecovered(m.orchestrator_id, m.epoch),
    "attempt_started": lambda path, m: e.AttemptStarted(
        path, m.attempt, payload_from_message(m.input) if m.HasField("input") else None
    ),
    "attempt_succeeded": lambda path, m: e.AttemptSucceeded(
        path, m.attempt, payload_from_message(m.output), _dispatch_from_message(m.dispatch)
    ),
    "attempt_failed": lambda path, m: e.AttemptFailed(
        path,
        m.attempt,
        failure_from_message(m.failure),
        _dispatch_from_message(m.dispatch) if m.HasField("dispatch") else None,
        m.next_attempt_unix_nano,
    ),
    "step_blocked": lambda path, m: e.StepBlocked(path, m.attempt, m.reason, m.message),
    "step_unblocked": lambda path, m: e.StepUnblocked(path, m.attempt),
    "group_started": lambda path, m: e.GroupStarted(path, tuple(m.branches)),
    "group_succeeded": lambda path, m: e.GroupSucceeded(path),
    "step_failed": lambda path, m: e.StepFailed(path, failure_from_message(m.failure)),
    "step_skipped": lambda path, m: e.StepSkipped(path, m.reason),
    "step_cancelled": lambda path, m: e.StepCancelled(path),
    "stop_requested": lambda path, m: e.StopRequested(path, failure_from_message(m.failure)),
}


def _dispatch_to_message(dispatch: e.Dispatch) -> event_pb2.Dispatch:
    return event_pb2.Dispatch(
        instance_id=dispatch.instance_id,
        incarnation=dispatch.incarnation,
        plugin_version=dispatch.plugin_version,
        unix_nano=dispatch.at,
        policy=dispatch.policy,
        candidates=dispatch.candidates,
        eligible=dispatch.eligible,
        excluded=dispatch.excluded,
        session=dispatch.session,
        accepted=dispatch.accepted,
    )


def _dispatch_from_message(message: event_pb2.Dispatch) -> e.Dispatch:
    return e.Dispatch(
        instance_id=message.instance_id,
        incarnation=message.incarnation,
        plugin_version=message.plugin_version,
        at=message.unix_nano,
        policy=message.policy,
        candidates=message.candidates,
        eligible=message.eligible,
        excluded=tuple(message.excluded),
        session=message.session,
        accepted=message.accepted,
    )


def timestamp(unix_nano: int) -> Timestamp | None:
    """None for 0, which stands for never."""
    if not unix_nano:
        return None
    return Timestamp(seconds=unix_nano // SECOND, nanos=unix_nano % SECOND)


def definition_to_message(definition: Definition, created_at: int, *, source: bool) -> definition_pb2.Definition:
    return definition_pb2.Definition(
        namespace=definition.namespace,
        name=definition.name,
        version=definition.version,
        content_hash=definition.content_hash,
        description=definition.description,
        source=definition.source if source else "",
        created_at=timestamp(created_at),
    )


_STATUS = {status: execution_pb2.ExecutionStatus.Value(f"EXECUTION_STATUS_{status.value}") for status in Status}
_STEP_STATUS = {status: execution_pb2.StepStatus.Value(f"STEP_STATUS_{status.value}") for status in StepStatus}


def execution_to_message(state: ExecutionState) -> execution_pb2.Execution:
    """The whole execution with its steps; without its input if that would make it too large for one message."""
    started = state.started
    assert started is not None
    message = execution_pb2.Execution(
        namespace=state.namespace,
        execution_id=state.execution_id,
        workflow=started.workflow,
        workflow_version=started.workflow_version,
        status=_STATUS[state.status],
        input=payload_to_message(started.input),
        output=payload_to_message(state.output) if state.output is not None else None,
        failure=failure_to_message(state.failure) if state.failure is not None else None,
        started_at=timestamp(state.started_at),
        ended_at=timestamp(state.ended_at),
        sequence=state.sequence,
        trace_id=started.trace_id.hex(),
        steps=[_step_to_message(step) for step in state.steps.values()],
    )
    if message.ByteSize() > MAX_MESSAGE:
        message.ClearField("input")
    return message


def row_to_message(row: ExecutionRow) -> execution_pb2.Execution:
    """What lists show."""
    return execution_pb2.Execution(
        namespace=row.namespace,
        execution_id=row.execution_id,
        workflow=row.workflow,
        workflow_version=row.workflow_version,
        status=_STATUS[row.status],
        started_at=timestamp(row.started_at),
        ended_at=timestamp(row.ended_at),
        sequence=row.sequence,
        trace_id=row.trace_id,
    )


def _step_to_message(step: StepState) -> execution_pb2.Step:
    return execution_pb2.Step(
        step_path=step.path,
        kind=step.step.kind,
        status=_STEP_STATUS[step.status],
        attempts=step.attempts,
        instance_id=step.dispatch.instance_id if step.dispatch else "",
        failure=failure_to_message(step.failure) if step.failure is not None else None,
        began_at=timestamp(step.began_at),
        ended_at=timestamp(step.ended_at),
        blocked_reason=step.blocked.reason if step.blocked else "",
        blocked_message=step.blocked.message if step.blocked else "",
        next_attempt_at=timestamp(step.next_at),
    )
