"""Where finished spans go, and how far they have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts


class Spans(Protocol):
    """Takes finished spans on their way to the collector."""

    def export(self, trace: ExecutionTrace, spans: Sequence[SpanFacts], position: int) -> None:
        """Spans that the event at `position` finished; position 0: of an earlier event, sent again after a crash."""


class SpanMark(Protocol):
    """Keeps up to where spans have been taken by a collector."""

    async def mark_spans_sent(self, position: int) -> None:
        """All spans of events up to this position were taken; raises StoreUnavailable."""
