"""Where finished spans go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts


class Spans(Protocol):
    """Takes finished spans on their way to the collector."""

    def export(self, trace: ExecutionTrace, spans: Sequence[SpanFacts], position: int) -> None:
        """Spans that the event at `position` finished; position 0: of an earlier event, sent again after a crash."""
