"""
The facts that every step leaves, straight in the wire format: byte for byte what their messages are on the wire.

To build, copy and serialise messages was 8 % of an orchestrator's CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from forgemesh.api.orchestrator.v1 import event_pb2 as pb
from forgemesh.chassis.wire import encoded_varint, length_delimited, varint
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.values.payload import JSON, Payload

_FIRST, _SECOND, _FOURTH = b"\x08", b"\x10", b"\x20"
"""What stands before a number in these fields."""
_NINE_BYTES, _TOO_MUCH = 1 << 56, 1 << 63


def step_event(event: e.Event) -> bytes | None:
    """The message of an event; None if it is rare or has what is rare: its message is to be built."""
    write = _WRITERS.get(type(event.fact))
    kind = write(event.fact) if write is not None else None
    if kind is None:
        return None
    sequence, at = event.sequence, event.at
    try:
        path = getattr(event.fact, "path", "").encode()
    except UnicodeEncodeError:
        return None
    if not (0 < sequence < _TOO_MUCH and 0 < at < _TOO_MUCH):
        return None
    return b"".join(
        (
            _FIRST + varint(sequence) + _SECOND,
            _moment(at),
            length_delimited(pb.ExecutionEvent.STEP_PATH_FIELD_NUMBER, len(path)) + path if path else b"",
            kind,
        )
    )


def _attempt_started(fact: e.AttemptStarted) -> bytes | None:
    if fact.input is None or fact.cache_key or fact.affinity or fact.child_id or not _is_plain(fact.input):
        return None
    given = _payload(fact.input)
    number = _FIRST + varint(fact.attempt) if fact.attempt else b""
    head = length_delimited(pb.AttemptStarted.INPUT_FIELD_NUMBER, len(given))
    size = len(number) + len(head) + len(given)
    return length_delimited(pb.ExecutionEvent.ATTEMPT_STARTED_FIELD_NUMBER, size) + number + head + given


def _attempt_succeeded(fact: e.AttemptSucceeded) -> bytes | None:
    dispatch = fact.dispatch
    if dispatch is None or not 0 < dispatch.at < _TOO_MUCH or not _is_plain(fact.output):
        return None
    output = _payload(fact.output)
    where = b"".join((_where(dispatch), _FOURTH, _moment(dispatch.at), _how(dispatch)))
    number = _FIRST + varint(fact.attempt) if fact.attempt else b""
    head = length_delimited(pb.AttemptSucceeded.OUTPUT_FIELD_NUMBER, len(output))
    before = length_delimited(pb.AttemptSucceeded.DISPATCH_FIELD_NUMBER, len(where))
    size = len(number) + len(head) + len(output) + len(before) + len(where)
    whole = length_delimited(pb.ExecutionEvent.ATTEMPT_SUCCEEDED_FIELD_NUMBER, size)
    return b"".join((whole, number, head, output, before, where))


def _execution_succeeded(fact: e.ExecutionSucceeded) -> bytes | None:
    if not _is_plain(fact.output):
        return None
    output = _payload(fact.output)
    head = length_delimited(pb.ExecutionSucceeded.OUTPUT_FIELD_NUMBER, len(output))
    size = len(head) + len(output)
    return length_delimited(pb.ExecutionEvent.EXECUTION_SUCCEEDED_FIELD_NUMBER, size) + head + output


_WRITERS: Mapping[type, Callable[[Any], bytes | None]] = {
    e.AttemptStarted: _attempt_started,
    e.AttemptSucceeded: _attempt_succeeded,
    e.ExecutionSucceeded: _execution_succeeded,
}


def _is_plain(payload: Payload) -> bool:
    return payload.media_type == JSON and not payload.metadata


def _payload(plain: Payload) -> bytes:
    data = plain.data
    return length_delimited(2, len(data)) + data if data else b""


def _where(dispatch: Dispatch) -> bytes:
    """The fields before its moment."""
    return _written_where(dispatch.instance_id, dispatch.incarnation, dispatch.plugin_version)


def _how(dispatch: Dispatch) -> bytes:
    """The fields after its moment."""
    return _written_how(
        dispatch.policy,
        dispatch.candidates,
        dispatch.eligible,
        dispatch.excluded,
        dispatch.session,
        dispatch.accepted,
        dispatch.plugin_id,
        dispatch.cached,
        dispatch.trial,
        dispatch.hedged_with,
    )


@lru_cache(maxsize=1024)
def _written_where(instance_id: str, incarnation: int, plugin_version: str) -> bytes:
    message = pb.Dispatch(instance_id=instance_id, incarnation=incarnation, plugin_version=plugin_version)
    return message.SerializeToString()


@lru_cache(maxsize=1024)
def _written_how(
    policy: str,
    candidates: int,
    eligible: int,
    excluded: tuple[str, ...],
    session: bool,
    accepted: bool,
    plugin_id: str,
    cached: bool,
    trial: bool,
    hedged_with: str,
) -> bytes:
    message = pb.Dispatch(
        policy=policy,
        candidates=candidates,
        eligible=eligible,
        excluded=excluded,
        session=session,
        accepted=accepted,
        plugin_id=plugin_id,
        cached=cached,
        trial=trial,
        hedged_with=hedged_with,
    )
    return message.SerializeToString()


def _moment(at: int) -> bytes:
    """Unix nanoseconds, not in a loop: they have nine bytes since 1972."""
    if at < _NINE_BYTES:
        return encoded_varint(at)
    return bytes(
        (
            at & 0x7F | 0x80,
            at >> 7 & 0x7F | 0x80,
            at >> 14 & 0x7F | 0x80,
            at >> 21 & 0x7F | 0x80,
            at >> 28 & 0x7F | 0x80,
            at >> 35 & 0x7F | 0x80,
            at >> 42 & 0x7F | 0x80,
            at >> 49 & 0x7F | 0x80,
            at >> 56,
        )
    )
