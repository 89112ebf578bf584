"""Up to where the spans of all events have been taken by a collector."""

from __future__ import annotations

from typing import Protocol

from forgemesh.orchestrator.execution.ports.rows import ExecutionRow


class SpanCursor(Protocol):
    """Keeps it, and knows what comes behind it."""

    async def spans_sent(self) -> int:
        """Position up to which all spans have been taken by a collector."""

    async def executions_after(self, position: int) -> list[ExecutionRow]:
        """Executions with events after `position`."""

    async def mark_spans_sent(self, position: int) -> None: ...

    async def last_before(self, key: int, position: int) -> int:
        """Sequence of an execution's last event at or before `position`; 0 if there is none."""
