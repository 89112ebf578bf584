"""A span has a limit of its own: what alone is too large is shortened, and says so, and holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis.attributes import SPAN_CUT

MAX_SPAN = 1024 * 1024
"""Bytes of one span, encoded."""
_MAX_TEXT = 4096
"""Characters of a text in a span that is shortened."""
_ENTRY = 8
"""Bytes that an entry of a list takes beside its own."""


def within_limit(encoded: bytes) -> bytes:
    """
    The encoded span, or as much of it as a span may have.

    Its ids, its times, its name and its status stay; long texts are cut, and attributes, links and events are left out
    for which there is no room. The counts of OTLP say how many of each, and an attribute says why.
    """
    if len(encoded) <= MAX_SPAN:
        return encoded
    return _shortened(Span.FromString(encoded), len(encoded)).SerializeToString()


def is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Whether a message was refused for its size, on either side: it is not taken the next time either."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or "")


def _shortened(span: Span, size: int) -> Span:
    short = Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        flags=span.flags,
        name=span.name[:_MAX_TEXT],
        kind=span.kind,
        start_time_unix_nano=span.start_time_unix_nano,
        end_time_unix_nano=span.end_time_unix_nano,
    )
    if span.HasField("status"):
        short.status.code, short.status.message = span.status.code, span.status.message[:_MAX_TEXT]
    room = MAX_SPAN - 4 * _MAX_TEXT - short.ByteSize()
    room, attributes = _taken(span.attributes, short.attributes, room, _cut_pair)
    room, links = _taken(span.links, short.links, room, _cut_list)
    room, events = _taken(span.events, short.events, room, _cut_event)
    short.dropped_attributes_count = span.dropped_attributes_count + attributes
    short.dropped_links_count = span.dropped_links_count + links
    short.dropped_events_count = span.dropped_events_count + events
    said = f"{size:,} bytes, at most {MAX_SPAN:,} are sent; texts are cut"
    said += f", {attributes} attributes, {links} links and {events} events left out"
    short.attributes.append(KeyValue(key=SPAN_CUT, value=AnyValue(string_value=said)))
    return short


def _taken(entries: Iterable[Any], into: Any, room: int, cut: Callable[[Any], None]) -> tuple[int, int]:
    """Take entries over as far as there is room; what is left of that, and how many were left out."""
    left_out = 0
    for entry in entries:
        cut(entry)
        size = entry.ByteSize() + _ENTRY
        if size > room:
            left_out += 1
            continue
        into.append(entry)
        room -= size
    return room, left_out


def _cut_event(event: Span.Event) -> None:
    event.name = event.name[:_MAX_TEXT]
    _cut_list(event)


def _cut_list(carrier: Span.Event | Span.Link) -> None:
    for pair in carrier.attributes:
        _cut_pair(pair)


def _cut_pair(pair: KeyValue) -> None:
    pair.key = pair.key[:_MAX_TEXT]
    if pair.value.HasField("string_value"):
        pair.value.string_value = pair.value.string_value[:_MAX_TEXT]
