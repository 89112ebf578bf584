"""All schedules in operation."""

from __future__ import annotations

import asyncio

from forgemesh.faults.schedule import ScheduleNotFound
from forgemesh.orchestrator.application.schedule_keeper import ScheduleKeeper
from forgemesh.orchestrator.domain.schedule import Schedule
from forgemesh.orchestrator.schedule_ports import ScheduleStore, Starter, WallClock


class Scheduler:
    """Each schedule has a task of its own, which sleeps until it is due or something happens that it may wait for."""

    def __init__(self, store: ScheduleStore, starter: Starter, clock: WallClock) -> None:
        self._store = store
        self._starter = starter
        self._clock = clock
        self._keepers: dict[tuple[str, str], ScheduleKeeper] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()
        starter.on_ended(self._ended)

    async def load(self) -> None:
        """Take up what is stored; before anything else."""
        for schedule in await self._store.load():
            self._keep(schedule)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for keeper in self._keepers.values():
                    tasks.create_task(keeper.run())
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    async def create(self, schedule: Schedule) -> tuple[Schedule, bool]:
        """The schedule as kept, and whether it is new."""
        async with self._changing:
            known = self._keepers.get((schedule.namespace, schedule.id))
            if known is not None:
                return known.schedule, False
            keeper = self._keep(await self._store.create(schedule))
            if self._tasks is not None:
                self._tasks.create_task(keeper.run())
            return keeper.schedule, True

    async def delete(self, namespace: str, schedule_id: str) -> bool:
        """Whether it was there."""
        async with self._changing:
            keeper = self._keepers.get((namespace, schedule_id))
            if keeper is None:
                return False
            await keeper.delete()
            del self._keepers[namespace, schedule_id]
            return True

    def keeper(self, namespace: str, schedule_id: str) -> ScheduleKeeper:
        """Raises ScheduleNotFound."""
        keeper = self._keepers.get((namespace, schedule_id))
        if keeper is None:
            raise ScheduleNotFound(schedule_id)
        return keeper

    def find(self, namespace: str, schedule_id: str) -> Schedule | None:
        keeper = self._keepers.get((namespace, schedule_id))
        return keeper.schedule if keeper is not None else None

    def schedules(self, namespace: str) -> list[Schedule]:
        """Those of a namespace by id."""
        found = [keeper.schedule for keeper in self._keepers.values() if keeper.schedule.namespace == namespace]
        return sorted(found, key=lambda schedule: schedule.id)

    def _keep(self, schedule: Schedule) -> ScheduleKeeper:
        keeper = ScheduleKeeper(schedule, self._store, self._starter, self._clock)
        self._keepers[schedule.namespace, schedule.id] = keeper
        return keeper

    def _ended(self, namespace: str, schedule_id: str) -> None:
        keeper = self._keepers.get((namespace, schedule_id))
        if keeper is not None:
            keeper.nudge()
