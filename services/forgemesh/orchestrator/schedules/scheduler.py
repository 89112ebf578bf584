"""All schedules in operation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from forgemesh.chassis.tasks import lasting
from forgemesh.faults.schedule import ScheduleNotFound
from forgemesh.orchestrator.schedules.ports import DamagedSchedule, ScheduleStore, Starter, WallClock
from forgemesh.orchestrator.schedules.schedule import Schedule
from forgemesh.orchestrator.schedules.schedule_loop import ScheduleLoop


class Scheduler:
    """Each schedule has a task of its own, which sleeps until it is due or something happens that it may wait for."""

    def __init__(self, store: ScheduleStore, starter: Starter, clock: WallClock) -> None:
        self._store = store
        self._starter = starter
        self._clock = clock
        self._loops: dict[tuple[str, str], ScheduleLoop] = {}
        self._damaged: dict[tuple[str, str], DamagedSchedule] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()
        starter.on_ended(self._ended)

    async def load(self) -> None:
        """Take up what is stored; before anything else."""
        for schedule in await self._store.load():
            self._keep(schedule)
        self._damaged = {(one.namespace, one.schedule_id): one for one in self._store.damaged}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for loop in self._loops.values():
                    tasks.create_task(_lasting(loop))
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    async def create(self, schedule: Schedule) -> tuple[Schedule, bool]:
        """The schedule as kept, and whether it is new; raises DataCorrupted if one of its name cannot be read."""
        async with self._changing:
            self._check_sound(schedule.namespace, schedule.id)
            known = self._loops.get((schedule.namespace, schedule.id))
            if known is not None:
                return known.schedule, False
            loop = self._keep(await self._store.create(schedule))
            if self._tasks is not None:
                self._tasks.create_task(_lasting(loop))
            return loop.schedule, True

    async def delete(self, namespace: str, schedule_id: str) -> bool:
        """Whether it was there."""
        async with self._changing:
            damaged = self._damaged.get((namespace, schedule_id))
            if damaged is not None:
                await self._store.delete(damaged.key)
                del self._damaged[namespace, schedule_id]
                return True
            loop = self._loops.get((namespace, schedule_id))
            if loop is None:
                return False
            await loop.delete()
            del self._loops[namespace, schedule_id]
            return True

    def loop(self, namespace: str, schedule_id: str) -> ScheduleLoop:
        """Raises ScheduleNotFound, or DataCorrupted if it cannot be read."""
        self._check_sound(namespace, schedule_id)
        loop = self._loops.get((namespace, schedule_id))
        if loop is None:
            raise ScheduleNotFound(schedule_id)
        return loop

    def find(self, namespace: str, schedule_id: str) -> Schedule | None:
        loop = self._loops.get((namespace, schedule_id))
        return loop.schedule if loop is not None else None

    def damaged(self, namespace: str) -> list[DamagedSchedule]:
        """Those of a namespace that cannot be read, by id: nothing of them happens, and they can be deleted."""
        found = [one for one in self._damaged.values() if one.namespace == namespace]
        return sorted(found, key=lambda one: one.schedule_id)

    def _check_sound(self, namespace: str, schedule_id: str) -> None:
        damaged = self._damaged.get((namespace, schedule_id))
        if damaged is not None:
            raise damaged.fault

    def schedules(self, namespace: str) -> list[Schedule]:
        """Those of a namespace by id."""
        found = [loop.schedule for loop in self._loops.values() if loop.schedule.namespace == namespace]
        return sorted(found, key=lambda schedule: schedule.id)

    def _keep(self, schedule: Schedule) -> ScheduleLoop:
        loop = ScheduleLoop(schedule, self._store, self._starter, self._clock)
        self._loops[schedule.namespace, schedule.id] = loop
        return loop

    def _ended(self, namespace: str, schedule_id: str) -> None:
        loop = self._loops.get((namespace, schedule_id))
        if loop is not None:
            loop.nudge()


def _lasting(loop: ScheduleLoop) -> Coroutine[Any, Any, None]:
    return lasting(f"schedule {loop.schedule.id}", loop.run)
