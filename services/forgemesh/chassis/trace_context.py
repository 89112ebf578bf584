"""W3C trace contexts, and the ids in them."""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A W3C trace context: 16 and 8 bytes, and whether the trace is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{self.sampled:02x}"


def parse_traceparent(text: str) -> TraceParent | None:
    """The trace context, or None if the text is not a valid one."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace, span, flags, rest = match.groups()
    trace_id, span_id = bytes.fromhex(trace), bytes.fromhex(span)
    if version == "ff" or (version == "00" and rest) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1))


_ids = random.Random()
os.register_at_fork(after_in_child=_ids.seed)


def new_trace_id() -> bytes:
    """16 random bytes."""
    return _ids.getrandbits(128).to_bytes(16)


def new_span_id() -> bytes:
    """8 random bytes."""
    return _ids.getrandbits(64).to_bytes(8)
