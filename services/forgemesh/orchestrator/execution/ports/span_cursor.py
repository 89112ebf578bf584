"""Up to where the spans of all events have been taken by a collector."""

from __future__ import annotations

from typing import Protocol

from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.values.shard import Shard


class SpanCursor(Protocol):
    """Keeps it for each shard, and knows what comes behind it."""

    async def spans_sent(self, shard: int) -> int:
        """Position up to which all spans have been taken by a collector."""

    async def executions_after(self, shard: int, position: int) -> list[ExecutionRow]:
        """Executions with events after `position`."""

    async def mark_spans_sent(self, shard: Shard, position: int) -> None: ...

    async def last_before(self, key: int, position: int) -> int:
        """Sequence of an execution's last event at or before `position`; 0 if there is none."""
