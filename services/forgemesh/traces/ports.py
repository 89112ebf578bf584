"""What the trace store needs from its disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from forgemesh.traces.domain.span import Delivery, PageEnd, StoredSpan
from forgemesh.traces.domain.summary import TraceSummary


class SpanStore(Protocol):
    """Keeps spans by (trace id, span id); the same span again replaces the earlier one."""

    async def store(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Keep the spans, which came `now`; they are readable once this returns."""

    async def spans_of(self, trace_id: bytes, after: PageEnd | None) -> tuple[list[StoredSpan], bool]:
        """Spans of the trace by start and span id, as many as a response takes, and whether more follow."""

    async def trace_of(self, execution_id: str) -> bytes | None:
        """The trace of the execution; the one that came last, if several name it."""

    async def newest(self, after: PageEnd | None, limit: int) -> list[TraceSummary]:
        """Traces by start and trace id, last first."""

    async def count(self) -> int:
        """Number of stored spans."""

    async def remove_untouched(self, before: float, spans: int) -> int:
        """Remove traces whose newest span came before `before`, until `spans` spans are gone; returns how many went."""

    async def remove_oldest(self, spans: int) -> int:
        """Remove the traces that came first, until `spans` spans are gone; returns how many went."""

    async def forget_resources(self, before: float) -> None:
        """Remove resources that were last seen before `before` and that no span needs."""
