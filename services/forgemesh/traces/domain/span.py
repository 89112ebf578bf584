"""A span as the store sees it: the columns that queries need beside the bytes that came over the wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8


class Span(NamedTuple):
    """
    One span; a tuple, because one is built for every span that any process sends.

    `parent_id` is None for a root, `execution_id` empty if the span names none, `body` the span exactly as it
    was sent. Times are Unix nanoseconds.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes | None
    name: str
    start: int
    end: int
    error: bool
    execution_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """Spans of one process; `resource` describes that process, in the bytes that came over the wire."""

    resource: bytes
    spans: list[Span]


class StoredSpan(NamedTuple):
    """A span on its way back to a reader, with the resource that sent it."""

    start: int
    span_id: bytes
    body: bytes
    resource: bytes


class PageEnd(NamedTuple):
    """Where a page ended: the start and the id (of a span, or of a trace) of its last entry."""

    start: int
    id: bytes


@dataclass(slots=True)
class Growth:
    """
    What spans add to one trace, which is named for the earliest of them, among equals for the root.

    `executions` has an entry for each execution that they name, in the order of their naming.
    """

    start: int
    is_child: bool
    name: str
    end: int
    spans: int = 0
    errors: int = 0
    executions: dict[str, None] = field(default_factory=dict)


def growth_of(spans: Iterable[Span]) -> dict[bytes, Growth]:
    """What the spans add, by trace id."""
    traces: dict[bytes, Growth] = {}
    for trace_id, _, parent_id, name, start, end, error, execution_id, _ in spans:
        trace = traces.get(trace_id)
        if trace is None:
            trace = traces[trace_id] = Growth(start, parent_id is not None, name, end)
        elif start <= trace.start and (start, parent_id is not None) < (trace.start, trace.is_child):
            trace.start, trace.is_child, trace.name = start, parent_id is not None, name
        if end > trace.end:
            trace.end = end
        trace.spans += 1
        trace.errors += error
        if execution_id:
            trace.executions[execution_id] = None
    return traces
