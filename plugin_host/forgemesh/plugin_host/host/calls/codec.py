"""Outcomes of calls as messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.faults import Fault, code_of, reason_of
from forgemesh.faults.workflow import PayloadTooLarge
from forgemesh.plugin import OperationError, Payload

MAX_TEXT = 1024
MAX_FACTS = 256 * 1024
"""Bytes of what a failure says besides its reason and its message."""
LEFT_OUT = "left_out"
"""Under this key a failure says what it had to leave out."""
LONGEST = 366 * 24 * 3600.0
"""Seconds after which a retry may be wished for at most."""
_FACT = 16
"""Bytes of a fact in a message besides its words, at most."""
MAX_OUTPUT = SESSION_LIMIT - 64 * 1024
"""Bytes; leaves room for what surrounds a payload in a message."""

Outcome: TypeAlias = Payload | failure_pb2.Failure


def failure_of(fault: Fault, step_path: str, *, retryable: bool) -> failure_pb2.Failure:
    """A refusal as data, for a call that is answered on a session or was taken on before."""
    return failure_pb2.Failure(
        code=int(code_of(fault)),
        reason=reason_of(fault),
        message=cut(fault.message),
        metadata=_facts(fault.metadata),
        retryable=retryable,
        step_path=step_path,
        retry_after_millis=_millis(fault.retry_after),
    )


def declared_failure(error: OperationError, step_path: str) -> failure_pb2.Failure:
    """What the author's code said."""
    return failure_pb2.Failure(
        code=int(error.code),
        reason=cut(str(error.reason)),
        message=cut(str(error.message)),
        metadata=_facts(error.metadata),
        retryable=bool(error.retryable),
        step_path=step_path,
        retry_after_millis=_millis(error.retry_after),
    )


def fitting(payload: Payload, operation: str, step_path: str) -> Outcome:
    """The payload, or the failure that it is larger than a message may be."""
    size = payload.size
    if size <= MAX_OUTPUT:
        return payload
    return failure_of(PayloadTooLarge(f"the output of {operation}", size, MAX_OUTPUT), step_path, retryable=False)


def _facts(metadata: Mapping[Any, Any]) -> dict[str, str]:
    """As many as a failure may say; what had to be left out is said instead."""
    kept: dict[str, str] = {}
    size = 0
    for said, value in metadata.items():
        key, text = cut(str(said)), cut(str(value))
        size += len(key.encode()) + len(text.encode()) + _FACT
        if size > MAX_FACTS:
            kept[LEFT_OUT] = f"{len(metadata) - len(kept)} of {len(metadata)} facts, beyond {MAX_FACTS} bytes"
            break
        kept[key] = text
    return kept


def cut(text: str) -> str:
    """At most a kibibyte, and nothing that UTF-8 does not know."""
    encoded = text.encode(errors="replace")
    return encoded.decode() if len(encoded) <= MAX_TEXT else encoded[: MAX_TEXT - 3].decode(errors="ignore") + "…"


def _millis(seconds: object) -> int:
    """What was said in seconds; 0, nothing, for what is no length of time. Nobody has to wait longer than LONGEST."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
        return 0
    return max(1, round(min(seconds, LONGEST) * 1000))
