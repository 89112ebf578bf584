"""One task for each member, as long as that is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

from forgemesh.balancer.domain.fleet import Member
from forgemesh.chassis.tasks import lasting

_Key: TypeAlias = tuple[str, int, str]


class Followers:
    """
    Tasks that run inside the `async with` block; each ends with its member's incarnation, or if that moves. One that a
    bug ends begins again, and the others go on.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks = asyncio.TaskGroup()
        self._running: dict[_Key, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running.values():
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def follow(self, members: Collection[Member], begin: Callable[[Member], Coroutine[Any, Any, None]]) -> None:
        """From now on exactly these have a task, which `begin` makes."""
        wanted = {(member.instance_id, member.incarnation, member.health_address): member for member in members}
        for key in self._running.keys() - wanted.keys():
            self._running.pop(key).cancel()
        for key in wanted.keys() - self._running.keys():
            name = f"{self._name} {key[0]}"
            self._running[key] = self._tasks.create_task(lasting(name, partial(begin, wanted[key])), name=name)
