"""Work that goes on beside a block and ends with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any


def watched(work: Coroutine[Any, Any, None], over: Callable[[Exception | None], None]) -> asyncio.Task[None]:
    """
    Run `work` as a task; whoever starts it has to keep it, and is told once it is `over`, with the exception that ended
    it, if one did. A task that is cancelled is over without one.
    """

    def end(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        over(error if isinstance(error, Exception) else None)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(end)
    return task


@contextlib.asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """
    Run `work` while the block runs, and cancel what is left of it when the block ends.

    If one of them fails, the block is cancelled and the failure raised; the block's own exception passes as it is.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one) for one in work]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
