"""Shows an execution's progress on stderr while it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from forgemesh.cli.progress import Progress

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent
    from forgemesh.cli.terminal import Terminal

_SHOWN_STEPS = 4


async def follow_progress(events: AsyncIterator[ExecutionEvent], terminal: Terminal) -> Progress:
    """Tell every event that people want to know, until the last one; programs (`-o json`) get nothing."""
    progress = Progress()
    with terminal.progress() as (tell, busy):
        async for event in events:
            line = progress.take(event)
            if line is not None:
                tell(str(line), line.style)
            busy(_under_way(progress))
    return progress


async def follow_events(events: AsyncIterator[ExecutionEvent], terminal: Terminal) -> Progress:
    """Print every event as a line of JSON, until the last one."""
    progress = Progress()
    async for event in events:
        progress.take(event)
        terminal.message(event)
    return progress


def _under_way(progress: Progress) -> str:
    steps = progress.open_steps()
    more = f" and {len(steps) - _SHOWN_STEPS} more" if len(steps) > _SHOWN_STEPS else ""
    return ", ".join(steps[:_SHOWN_STEPS]) + more
