"""
Spans straight in the wire format of OTLP, for those that are made for every step.

A protobuf message is the concatenation of its encoded fields. Attributes come again and again, so their bytes are kept;
what remains is to join them, a fifth of what building the message costs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis.telemetry import MAX_TEXT, attribute
from forgemesh.chassis.wire import length_delimited

_IDS = struct.Struct("2s16s2s8s")
_TIMES = struct.Struct("<BBBQBQ")
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_KIND, _START, _END = 0x30, 0x39, 0x41
_NUMBER, _FIXED_64 = struct.Struct("<d"), 1


SHORTEST = 1000
"""Nanoseconds."""
_LONGEST_KEPT = 512


def end_of(start: int, end: int) -> int:
    """
    When a span ends, in Unix nanoseconds as its `start`: at least a microsecond later. Jaeger takes anything shorter,
    and what a clock that was set back leaves, for a negative duration.
    """
    return max(end, start + SHORTEST)


def encoded_span(
    trace_id: bytes,
    span_id: bytes,
    parent_id: bytes,
    name: str,
    kind: Span.SpanKind.ValueType,
    start: int,
    end: int,
    attributes: Iterable[bytes],
    rest: Span | None = None,
) -> bytes:
    """
    A span of 16, 8 and 8 (or no) bytes of ids, with times in Unix nanoseconds.

    `attributes` come from `encoded_attribute`; `rest` brings what few spans have: status, events, links.
    """
    return b"".join(
        (
            _IDS.pack(_TRACE_ID, trace_id, _SPAN_ID, span_id),
            _PARENT_ID + parent_id if parent_id else b"",
            _encoded_name(name),
            _TIMES.pack(_KIND, kind, _START, start, _END, end),
            *attributes,
            rest.SerializeToString() if rest is not None else b"",
        )
    )


def encoded_attribute(key: str, value: object) -> bytes:
    """One attribute of a span."""
    return Span(attributes=[attribute(key, value)]).SerializeToString()


def text_attribute(key: str, value: str) -> bytes:
    """An attribute whose values are mostly new: a tenth of what building the message costs."""
    try:
        text = value[:MAX_TEXT].encode()
    except UnicodeEncodeError:  # a lone surrogate
        return encoded_attribute(key, value)
    return _before_text(key, len(text)) + text


def number_attribute(key: str, value: float) -> bytes:
    """The same for a floating-point number."""
    return _before_number(key) + _NUMBER.pack(value)


def usual_attribute(key: str, value: str | bool | float) -> bytes:
    """One attribute whose value comes again and again: its bytes are kept, unless they are many."""
    if isinstance(value, str) and len(value) > _LONGEST_KEPT:
        return encoded_attribute(key, value)
    return _kept_attribute(key, value)


@lru_cache(maxsize=4096)
def _before_text(key: str, size: int) -> bytes:
    """All of an attribute up to its text, which ends each of the messages around it."""
    text = length_delimited(AnyValue.STRING_VALUE_FIELD_NUMBER, size)
    return _before_value(key, len(text) + size) + text


@lru_cache(maxsize=256)
def _before_number(key: str) -> bytes:
    number = bytes((AnyValue.DOUBLE_VALUE_FIELD_NUMBER << 3 | _FIXED_64,))
    return _before_value(key, len(number) + _NUMBER.size) + number


def _before_value(key: str, size: int) -> bytes:
    """All of an attribute up to what is in its value, which has so many bytes."""
    pair = KeyValue(key=key).SerializeToString() + length_delimited(KeyValue.VALUE_FIELD_NUMBER, size)
    return length_delimited(Span.ATTRIBUTES_FIELD_NUMBER, len(pair) + size) + pair


@lru_cache(maxsize=8192)
def _kept_attribute(key: str, value: str | bool | float) -> bytes:
    return encoded_attribute(key, value)


@lru_cache(maxsize=1024)
def _encoded_name(name: str) -> bytes:
    return Span(name=name).SerializeToString()
