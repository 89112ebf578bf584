"""A trace in one line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """
    What a list of traces shows; times are Unix nanoseconds.

    `execution_id` is that of its earliest execution, empty if it has none.
    """

    trace_id: bytes
    execution_id: str
    name: str
    start: int
    end: int
    spans: int
    errors: int
