"""Tasks whose end is seen: work that goes on beside a block, work that begins again, work that somebody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from forgemesh.chassis.backoff import drawn_pause

T = TypeVar("T")

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between a bug and the next beginning."""
SOUND = 60.0
"""Seconds of work after which one bug has nothing to do with the one before."""


def watched(
    work: Coroutine[Any, Any, T], over: Callable[[Exception | None], object] | None = None, *, name: str | None = None
) -> asyncio.Task[T]:
    """
    Run `work` as a task, which whoever starts it has to keep.

    `over` is told once it has ended, with the exception that ended it, if one did; without `over` that is logged. A
    task that is cancelled is over without one.
    """

    def end(task: asyncio.Task[T]) -> None:
        error = None if task.cancelled() else task.exception()
        if over is not None:
            over(error if isinstance(error, Exception) else None)
        elif error is not None:
            _log.error("%s has ended by a bug", task.get_name(), exc_info=error)

    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(end)
    return task


async def lasting(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """
    Run `work()` to its end. An exception that comes out of it is a bug, and ends nothing else: it is logged with the
    `name` and how many there were in a row, and after a pause that grows with them the work begins again.
    """
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it is
            failures = 1 if loop.time() - began > SOUND else failures + 1
            facts = {"work": name, "failures": failures}
            _log.exception("%s has ended by a bug, time %d in a row; it begins again", name, failures, extra=facts)
        else:
            return
        await asyncio.sleep(drawn_pause(failures, first=FIRST_PAUSE, most=LONGEST_PAUSE, least=0.5))


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
