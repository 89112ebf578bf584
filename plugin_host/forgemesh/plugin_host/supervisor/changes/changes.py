"""Changes belong to the supervisor: each goes on to its end, whatever becomes of the call that asked for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from forgemesh.faults import Fault
from forgemesh.plugin_host.supervisor.fleet.group import Group

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Changes:
    """Carries changes out, as tasks of `tasks`."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    async def of(self, group: Group, work: Callable[[], Awaitable[T]]) -> T:
        """
        Do `work` while nothing else changes about the plugin; what it gives, or raises.

        A caller that goes away before its turn has come has asked for nothing.
        """
        await group.changing.acquire()
        return await self.own(lambda: _holding(group, work))

    async def own(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, which goes on if this call is cancelled; what it gives, or raises."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(_settle(outcome, work))
        await asyncio.wait([outcome])
        return outcome.result()


async def _holding(group: Group, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return await work()
    finally:
        group.catch_up()
        group.changing.release()


async def _settle(outcome: asyncio.Future[T], work: Callable[[], Awaitable[T]]) -> None:
    try:
        outcome.set_result(await work())
    except Exception as error:  # noqa: BLE001 - it is the caller's, who may have gone away
        outcome.set_exception(error)
        outcome.exception()  # it is known: nobody needs to ask for it
        level = logging.INFO if isinstance(error, Fault) else logging.ERROR
        _log.log(level, "a change failed: %s", error, exc_info=not isinstance(error, Fault))
    finally:
        outcome.cancel()
