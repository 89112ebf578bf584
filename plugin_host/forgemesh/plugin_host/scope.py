"""Blocks of work: one that fails as its first task failed, one that ends early; and what a cancellation is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from forgemesh.chassis.tasks import watched


@contextlib.asynccontextmanager
async def task_scope() -> AsyncIterator[asyncio.TaskGroup]:
    """Like asyncio.TaskGroup; what ended it comes out as it was raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


def is_cancellation(error: BaseException) -> bool:
    """Whether the current task is cancelled by this error; the author's code may raise CancelledError as well."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class EndedEarly(Exception):
    """A block was interrupted by what it was to be interrupted by."""


@contextlib.asynccontextmanager
async def interrupted_by(event: asyncio.Event) -> AsyncIterator[None]:
    """Cancel what the block waits for once `event` is set, and raise EndedEarly."""
    task = asyncio.current_task()
    assert task is not None
    inside = True

    def interrupt(error: Exception | None) -> None:
        if inside and event.is_set():
            task.cancel()

    waiting = watched(event.wait(), interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if event.is_set() and task.uncancel() == 0:
            raise EndedEarly from None
        raise
    finally:
        inside = False
        waiting.cancel()
