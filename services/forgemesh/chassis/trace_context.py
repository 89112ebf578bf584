"""W3C trace contexts, and the ids in them."""

from __future__ import annotations

import os
import random
import re

import msgspec

_TRACEPARENT = re.compile(r"(?!ff|00.{54})[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?")
"""Of version 00 there is nothing behind the flags; version ff is none."""
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_SAMPLED = frozenset("13579bdf")
"""Last digits of flags that say so."""


class TraceParent(msgspec.Struct, frozen=True):
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
    trace, span, flags = match.groups()
    trace_id, span_id = bytes.fromhex(trace), bytes.fromhex(span)
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, flags in _SAMPLED)


def recorded_trace(traceparent: str) -> bytes:
    """The trace of a context that this process has made itself, 16 bytes; empty if it is not recorded."""
    return bytes.fromhex(traceparent[3:35]) if traceparent.endswith("01") else b""


_ids = random.Random()
os.register_at_fork(after_in_child=_ids.seed)


def new_trace_id() -> bytes:
    """16 random bytes."""
    return _ids.getrandbits(128).to_bytes(16)


def new_span_id() -> bytes:
    """8 random bytes."""
    return _ids.getrandbits(64).to_bytes(8)
