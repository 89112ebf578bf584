"""Payloads and failures, and their messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.faults import Code
from forgemesh.orchestrator.values.failure import MAX_CAUSES, MAX_DEPTH, Failure
from forgemesh.orchestrator.values.payload import JSON, Payload
from forgemesh.orchestrator.values.retry import LONGEST_WISH, SECOND

MAX_TEXT = 4096
MAX_REASON = 200
MAX_FACTS = 32
LEFT_OUT = "left_out"
"""Under this key a failure says what it had to leave out."""
MAX_PATH = 10_000


def payload_to_message(payload: Payload) -> payload_pb2.Payload:
    if payload.media_type == JSON and not payload.metadata:
        return payload_pb2.Payload(data=payload.data)
    return payload_pb2.Payload(media_type=payload.media_type, data=payload.data, metadata=payload.metadata)


def payload_from_message(message: payload_pb2.Payload) -> Payload:
    metadata = message.metadata
    return Payload(message.data, message.media_type or JSON, dict(metadata) if metadata else {})


def optional_payload(message: Any, field: str) -> Payload | None:
    """The payload in a field of a message; None if it is not set."""
    return payload_from_message(getattr(message, field)) if message.HasField(field) else None


def failure_to_message(failure: Failure, depth: int = 0) -> failure_pb2.Failure:
    causes = failure.causes[:MAX_CAUSES] if depth < MAX_DEPTH else ()
    return failure_pb2.Failure(
        code=int(failure.code),
        reason=failure.reason,
        message=failure.message,
        metadata=failure.metadata,
        retryable=failure.retryable,
        step_path=failure.step_path,
        retry_after_millis=round(min(failure.retry_after, LONGEST_WISH) * 1000),
        causes=[failure_to_message(cause, depth + 1) for cause in causes],
    )


def failure_from_message(message: failure_pb2.Failure) -> Failure:
    return replace(_bare(message), causes=tuple([failure_from_message(cause) for cause in message.causes]))


def _bare(message: failure_pb2.Failure) -> Failure:
    """Without its causes."""
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
    failure = _bare(message)
    return replace(
        failure,
        reason=failure.reason[:MAX_REASON],
        message=failure.message[:MAX_TEXT],
        metadata=_facts(failure.metadata),
        step_path=failure.step_path[:MAX_PATH],
    )


def _facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """As many as are kept, and how many are not."""
    names = sorted(metadata)
    kept = {name[:MAX_REASON]: metadata[name][:MAX_TEXT] for name in names[:MAX_FACTS]}
    if len(names) > MAX_FACTS:
        left_out = f"{len(names) - MAX_FACTS} of {len(names)} facts, at most {MAX_FACTS} are kept"
        said = [metadata[LEFT_OUT][:MAX_TEXT]] if LEFT_OUT in metadata else []
        kept[LEFT_OUT] = "; ".join((*said, left_out))
    return kept


def timestamp(unix_nano: int) -> Timestamp | None:
    """None for 0, which stands for never."""
    return moment(unix_nano) if unix_nano else None


def moment(unix_nano: int) -> Timestamp:
    return Timestamp(seconds=unix_nano // SECOND, nanos=unix_nano % SECOND)
