"""Shows an execution's progress on stderr while it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forgemesh.cli.progress import Line, Progress

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent
    from forgemesh.cli.terminal import Terminal

_SHOWN_STEPS = 4


async def follow_progress(events: AsyncIterator[ExecutionEvent], terminal: Terminal) -> Progress:
    """Tell every event that people want to know, until the last one; programs (`-o json`) get nothing."""
    progress = Progress()
    with _teller(terminal) as (tell, busy):
        async for event in events:
            line = progress.take(event)
            if line is not None:
                tell(line)
            busy(_under_way(progress))
    return progress


async def follow_events(events: AsyncIterator[ExecutionEvent], terminal: Terminal) -> Progress:
    """Print every event as a line of JSON, until the last one."""
    progress = Progress()
    async for event in events:
        progress.take(event)
        terminal.message(event)
    return progress


@contextmanager
def _teller(terminal: Terminal) -> Iterator[tuple[Callable[[Line], None], Callable[[str], None]]]:
    """How to tell a line and how to tell what is under way: the latter is shown on a terminal only."""
    if terminal.json or not terminal.err.isatty():
        yield lambda line: terminal.talk(str(line)), lambda under_way: None
        return
    from rich.console import Console  # noqa: PLC0415 - takes 70 ms, wanted on a terminal only
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=terminal.err, highlight=False)
    with console.status("") as status:

        def tell(line: Line) -> None:
            text = Text(str(line))
            text.stylize(line.style, 2, 3)
            console.print(text, soft_wrap=True)

        yield tell, lambda under_way: status.update(Text(under_way, style="dim"))


def _under_way(progress: Progress) -> str:
    steps = progress.open_steps()
    more = f" and {len(steps) - _SHOWN_STEPS} more" if len(steps) > _SHOWN_STEPS else ""
    return ", ".join(steps[:_SHOWN_STEPS]) + more
