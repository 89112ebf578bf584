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
        self._keepers: dict[tuple[str, str], ScheduleLoop] = {}
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
                for keeper in self._keepers.values():
                    tasks.create_task(_lasting(keeper))
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    async def create(self, schedule: Schedule) -> tuple[Schedule, bool]:
        """The schedule as kept, and whether it is new; raises DataCorrupted if one of its name cannot be read."""
        async with self._changing:
            self._check_sound(schedule.namespace, schedule.id)
            known = self._keepers.get((schedule.namespace, schedule.id))
            if known is not None:
                return known.schedule, False
            keeper = self._keep(await self._store.create(schedule))
            if self._tasks is not None:
                self._tasks.create_task(_lasting(keeper))
            return keeper.schedule, True

    async def delete(self, namespace: str, schedule_id: str) -> bool:
        """Whether it was there."""
        async with self._changing:
            damaged = self._damaged.get((namespace, schedule_id))
            if damaged is not None:
                await self._store.delete(damaged.key)
                del self._damaged[namespace, schedule_id]
                return True
            keeper = self._keepers.get((namespace, schedule_id))
            if keeper is None:
                return False
            await keeper.delete()
            del self._keepers[namespace, schedule_id]
            return True

    def keeper(self, namespace: str, schedule_id: str) -> ScheduleLoop:
        """Raises ScheduleNotFound, or DataCorrupted if it cannot be read."""
        self._check_sound(namespace, schedule_id)
        keeper = self._keepers.get((namespace, schedule_id))
        if keeper is None:
            raise ScheduleNotFound(schedule_id)
        return keeper

    def find(self, namespace: str, schedule_id: str) -> Schedule | None:
        keeper = self._keepers.get((namespace, schedule_id))
        return keeper.schedule if keeper is not None else None

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
        found = [keeper.schedule for keeper in self._keepers.values() if keeper.schedule.namespace == namespace]
        return sorted(found, key=lambda schedule: schedule.id)

    def _keep(self, schedule: Schedule) -> ScheduleLoop:
        keeper = ScheduleLoop(schedule, self._store, self._starter, self._clock)
        self._keepers[schedule.namespace, schedule.id] = keeper
        return keeper

    def _ended(self, namespace: str, schedule_id: str) -> None:
        keeper = self._keepers.get((namespace, schedule_id))
        if keeper is not None:
            keeper.nudge()


def _lasting(keeper: ScheduleLoop) -> Coroutine[Any, Any, None]:
    return lasting(f"schedule {keeper.schedule.id}", keeper.run)
