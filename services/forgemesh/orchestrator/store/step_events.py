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
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.values.payload import JSON, Payload

_FIRST, _FOURTH = b"\x08", b"\x20"
"""What stands before a number in these fields."""
_NINE_BYTES, _TOO_MUCH = 1 << 56, 1 << 63


def step_event(event: e.Event) -> bytes | None:
    """The message of an event; None if it is rare or has what is rare: its message is to be built."""
    fact = event.fact
    write = _WRITERS.get(type(fact))
    kind = write(fact) if write is not None else None
    if kind is None:
        return None
    sequence, at = event.sequence, event.at
    if not (0 < sequence < _TOO_MUCH and 0 < at < _TOO_MUCH):
        return None
    try:
        path = _path(getattr(fact, "path", ""))
    except UnicodeEncodeError:
        return None
    return b"".join((_sequence(sequence), _moment(at), path, kind))


def _attempt_started(fact: e.AttemptStarted) -> bytes | None:
    given = fact.input
    if given is None or fact.cache_key or fact.affinity or fact.child_id or given.media_type != JSON or given.metadata:
        return None
    data = given.data
    return _before_input(fact.attempt, len(data)) + data


def _attempt_succeeded(fact: e.AttemptSucceeded) -> bytes | None:
    dispatch, output = fact.dispatch, fact.output
    if dispatch is None or output.media_type != JSON or output.metadata:
        return None
    at, data = dispatch.at, output.data
    if not 0 < at < _TOO_MUCH:
        return None
    where = b"".join(
        (
            _where(dispatch.instance_id, dispatch.incarnation, dispatch.plugin_version),
            _FOURTH,
            _moment(at),
            _how(
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
            ),
        )
    )
    before, between = _around_output(fact.attempt, len(data), len(where))
    return b"".join((before, data, between, where))


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
    return _before_data(len(plain.data)) + plain.data


@lru_cache(maxsize=8192)
def _sequence(sequence: int) -> bytes:
    """All before the event's moment."""
    return _FIRST + varint(sequence) + b"\x10"


@lru_cache(maxsize=8192)
def _path(path: str) -> bytes:
    encoded = path.encode()
    return length_delimited(pb.ExecutionEvent.STEP_PATH_FIELD_NUMBER, len(encoded)) + encoded if encoded else b""


@lru_cache(maxsize=8192)
def _before_data(size: int) -> bytes:
    """All of a payload before its data, which end it."""
    return length_delimited(2, size) if size else b""


@lru_cache(maxsize=8192)
def _before_input(attempt: int, size: int) -> bytes:
    """All of an attempt's start before the data of its input, which end it."""
    data = _before_data(size)
    number = _FIRST + varint(attempt) if attempt else b""
    head = number + length_delimited(pb.AttemptStarted.INPUT_FIELD_NUMBER, len(data) + size) + data
    return length_delimited(pb.ExecutionEvent.ATTEMPT_STARTED_FIELD_NUMBER, len(head) + size) + head


@lru_cache(maxsize=8192)
def _around_output(attempt: int, size: int, where: int) -> tuple[bytes, bytes]:
    """What stands before the data of an attempt's output, and between them and where it ran, which ends it."""
    data = _before_data(size)
    number = _FIRST + varint(attempt) if attempt else b""
    head = number + length_delimited(pb.AttemptSucceeded.OUTPUT_FIELD_NUMBER, len(data) + size) + data
    between = length_delimited(pb.AttemptSucceeded.DISPATCH_FIELD_NUMBER, where)
    whole = len(head) + size + len(between) + where
    return length_delimited(pb.ExecutionEvent.ATTEMPT_SUCCEEDED_FIELD_NUMBER, whole) + head, between


@lru_cache(maxsize=1024)
def _where(instance_id: str, incarnation: int, plugin_version: str) -> bytes:
    """The fields of a dispatch before its moment."""
    message = pb.Dispatch(instance_id=instance_id, incarnation=incarnation, plugin_version=plugin_version)
    return message.SerializeToString()


@lru_cache(maxsize=1024)
def _how(
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
    """The fields of a dispatch after its moment."""
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
    """Unix nanoseconds, not in a loop: nine bytes since 1972, of which the last five change four times a second."""
    if at < _NINE_BYTES:
        return encoded_varint(at)
    return bytes((at & 0x7F | 0x80, at >> 7 & 0x7F | 0x80, at >> 14 & 0x7F | 0x80, at >> 21 & 0x7F | 0x80)) + _late(
        at >> 28
    )


@lru_cache(maxsize=64)
def _late(at: int) -> bytes:
    return encoded_varint(at)
