"""What the trace store does: record, find, list, and forget in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from forgemesh.chassis.subscribers import Subscribers
from forgemesh.faults.tracing import TraceNotFound
from forgemesh.traces.domain.retention import Retention
from forgemesh.traces.domain.span import Delivery, PageEnd, StoredSpan
from forgemesh.traces.domain.summary import TraceSummary
from forgemesh.traces.ports import SpanStore

_SWEEP_STEP = 2_000
"""Spans that one transaction of a sweep removes, so that no sender waits long for it."""


class Traces:
    """The use cases; `clock` gives Unix time in seconds."""

    def __init__(self, store: SpanStore, *, clock: Callable[[], float], retention: Retention) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention
        self.on_recorded: Subscribers[[int, float]] = Subscribers("spans that were written, and how long that took")

    async def record(self, deliveries: Sequence[Delivery]) -> None:
        """Keep the spans, in one write."""
        spans = sum(len(delivery.spans) for delivery in deliveries)
        if spans:
            began = time.monotonic()
            await self._store.store(deliveries, self._clock())
            self.on_recorded.tell(spans, time.monotonic() - began)

    async def trace(self, trace_id: bytes, after: PageEnd | None) -> tuple[list[StoredSpan], bool]:
        """One page of a trace, and whether there is more; raises TraceNotFound."""
        spans, more = await self._store.spans_of(trace_id, after)
        if not spans and after is None:
            raise TraceNotFound(trace_id.hex())
        return spans, more

    async def trace_id_of(self, execution_id: str) -> bytes:
        """The trace that holds the execution; raises TraceNotFound."""
        trace_id = await self._store.trace_of(execution_id)
        if trace_id is None:
            raise TraceNotFound(execution_id)
        return trace_id

    async def newest(self, after: PageEnd | None, limit: int) -> tuple[list[TraceSummary], bool]:
        """One page of the list of traces, newest first, and whether there is more."""
        found = await self._store.newest(after, limit + 1)
        return found[:limit], len(found) > limit

    async def sweep(self) -> None:
        """Remove what the retention does not keep."""
        cutoff = self._retention.cutoff(self._clock())
        while await self._store.remove_untouched(cutoff, _SWEEP_STEP):
            pass
        excess = self._retention.excess(await self._store.count())
        while excess > 0:
            excess -= await self._store.remove_oldest(min(excess, _SWEEP_STEP))
        await self._store.forget_resources(cutoff)
