"""What people do with schedules: each answer comes once what was asked for is durable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, takewhile

from forgemesh.faults import Violation
from forgemesh.faults.schedule import ScheduleChanged, ScheduleExists, ScheduleInvalid
from forgemesh.faults.service import InvalidRequest
from forgemesh.orchestrator.execution.commands.pending_requests import RequestsUnderWay
from forgemesh.orchestrator.schedules.plan_check import LAST_MOMENT, check_plan
from forgemesh.orchestrator.schedules.ports import ScheduleStore, Starter, WallClock, Workflows
from forgemesh.orchestrator.schedules.schedule import MAX_WAITING, Occasion, Overlap, Pause, Plan, Run, Schedule
from forgemesh.orchestrator.schedules.scheduler import Scheduler
from forgemesh.orchestrator.values.digest import text_of
from forgemesh.orchestrator.values.identifiers import check_ids
from forgemesh.orchestrator.workflow.input_check import check_input

RECENT = 20
"""Decisions that a look at a schedule shows."""
MAX_PREVIEW = 1000
USUAL_PREVIEW = 10

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}")


class Schedules:
    """Use cases over the scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        store: ScheduleStore,
        starter: Starter,
        workflows: Workflows,
        clock: WallClock,
        under_way: RequestsUnderWay,
    ) -> None:
        self._scheduler = scheduler
        self._store = store
        self._starter = starter
        self._workflows = workflows
        self._clock = clock
        self._under_way = under_way

    async def create(
        self, namespace: str, schedule_id: str, plan: Plan, pause: Pause | None, mistakes: Sequence[Violation] = ()
    ) -> tuple[Schedule, bool]:
        """
        The schedule, and whether it is new. `mistakes` are those that were found in the plan before.

        Raises ScheduleInvalid with everything that is wrong, ScheduleExists, or what a start would be refused with.
        """
        now = self._clock.now()
        known = self._scheduler.find(namespace, schedule_id)
        if known is not None and known.plan == plan and not mistakes:
            return known, False
        await self._check(namespace, schedule_id, plan, mistakes, now)
        new = Schedule(
            namespace=namespace, id=schedule_id, plan=plan, created_at=now, updated_at=now, cursor=now, pause=pause
        )
        schedule, created = await self._scheduler.create(new)
        if schedule.plan != plan:
            raise ScheduleExists(schedule_id)
        return schedule, created

    async def update(
        self, namespace: str, schedule_id: str, plan: Plan, revision: int, mistakes: Sequence[Violation] = ()
    ) -> Schedule:
        """As `create`; also raises ScheduleNotFound, and ScheduleChanged if `revision` is set and not the newest."""
        loop = self._scheduler.loop(namespace, schedule_id)
        if loop.schedule.plan != plan or mistakes:
            await self._check(namespace, schedule_id, plan, mistakes, self._clock.now())

        def updated(schedule: Schedule, now: int) -> Schedule:
            if schedule.plan == plan:
                return schedule
            if revision and revision != schedule.revision:
                raise ScheduleChanged(schedule_id, revision, schedule.revision)
            return schedule.updated(plan, now)

        return await loop.change(updated)

    async def delete(self, namespace: str, schedule_id: str) -> bool:
        """Whether it was there."""
        return await self._scheduler.delete(namespace, schedule_id)

    async def pause(self, namespace: str, schedule_id: str, by: str, reason: str) -> Schedule:
        """No moment that comes after the answer starts anything; raises ScheduleNotFound."""

        def paused(schedule: Schedule, now: int) -> Schedule:
            return schedule.paused(Pause(by, reason, schedule.pause.at if schedule.pause is not None else now))

        return await self._scheduler.loop(namespace, schedule_id).change(paused)

    async def resume(self, namespace: str, schedule_id: str) -> Schedule:
        """Raises ScheduleNotFound."""
        return await self._scheduler.loop(namespace, schedule_id).change(lambda schedule, now: schedule.resumed())

    async def get(self, namespace: str, schedule_id: str) -> tuple[Schedule, list[Run], list[str]]:
        """The schedule, its newest decisions, and the ids of the open executions that it started."""
        schedule = self._scheduler.loop(namespace, schedule_id).schedule
        recent = await self._store.recent(schedule.key, RECENT)
        opened = await self._starter.open_executions(schedule)
        return schedule, recent, [one.execution_id for one in opened]

    def damaged(self, namespace: str) -> list[str]:
        """What is to be said of each schedule of a namespace that cannot be read, in order of the ids."""
        hint = "nothing of it happens; `forgemesh schedule delete {}` forgets it"
        return [f"{one.fault.message}; {hint.format(one.schedule_id)}" for one in self._scheduler.damaged(namespace)]

    def known(self, namespace: str, workflow: str, *, paused_only: bool) -> list[Schedule]:
        """By id; of all workflows if none is named."""
        return [
            schedule
            for schedule in self._scheduler.schedules(namespace)
            if workflow in ("", schedule.plan.target.workflow) and (schedule.pause is not None or not paused_only)
        ]

    async def trigger(
        self, namespace: str, schedule_id: str, overlap: Overlap | None, request_id: str, linked_span: str
    ) -> tuple[Schedule, Run]:
        """Start once, now, and what became of it."""
        _check_request_id(request_id)
        loop = self._scheduler.loop(namespace, schedule_id)
        content = text_of("trigger", schedule_id, overlap.value if overlap is not None else None)
        async with self._under_way.alone(namespace, request_id):
            runs = await loop.ask((), Occasion.TRIGGERED, overlap, request_id, linked_span, content)
        return loop.schedule, runs[0]

    async def backfill(
        self, namespace: str, schedule_id: str, start_at: int, end_at: int, overlap: Overlap, request_id: str
    ) -> tuple[Schedule, list[Run]]:
        """Start for each moment of a range of the past, both ends included, and what became of each."""
        _check_request_id(request_id)
        loop = self._scheduler.loop(namespace, schedule_id)
        # as texts: a time that nobody can mean may take more than 64 bits, and is refused below
        content = text_of("backfill", schedule_id, str(start_at), str(end_at), overlap.value)
        earlier = await loop.asked(request_id, content)
        if earlier:  # whatever has become of the timetable since
            return loop.schedule, earlier
        timetable = loop.schedule.plan.timetable
        violations = _range_violations(start_at, end_at, self._clock.now())
        moments: list[int] = []
        if not violations:
            coming = takewhile(lambda moment: moment <= end_at, timetable.moments(start_at - 1))
            moments = list(islice(coming, MAX_WAITING + 1))
            if not moments:
                violations.append(Violation("end_at", "no moment of the timetable lies between start_at and end_at"))
            if len(moments) > MAX_WAITING:
                violations.append(Violation("end_at", f"more than {MAX_WAITING} moments lie before it; ask for fewer"))
        if violations:
            raise InvalidRequest(violations)
        async with self._under_way.alone(namespace, request_id):
            runs = await loop.ask(moments, Occasion.BACKFILLED, overlap, request_id, "", content)
        return loop.schedule, runs

    async def preview(
        self,
        namespace: str,
        schedule_id: str,
        plan: Plan | None,
        after: int,
        count: int,
        mistakes: Sequence[Violation] = (),
    ) -> list[tuple[int, int]]:
        """The next moments and when they are due, of a schedule or of a plan; `after` 0 is now, `count` 0 is 10."""
        now = self._clock.now()
        violations = []
        if not 0 <= count <= MAX_PREVIEW:
            violations.append(Violation("count", f"{count} is not between 0 and {MAX_PREVIEW}"))
        if not 0 <= after <= LAST_MOMENT:
            violations.append(Violation("after", "must lie between 1970 and 2200"))
        if violations:
            raise InvalidRequest(violations)
        if plan is None:
            schedule = self._scheduler.loop(namespace, schedule_id).schedule
            plan, used, seed = schedule.plan, schedule.used, schedule.seed
        else:
            await self._check(namespace, schedule_id or "preview", plan, mistakes, now)
            used, seed = 0, f"{namespace}/{schedule_id}"
        wanted = count or USUAL_PREVIEW
        if plan.max_starts:
            wanted = min(wanted, max(0, plan.max_starts - used))
        return list(islice(plan.timetable.dues(after or now, seed), wanted))

    async def _check(
        self, namespace: str, schedule_id: str, plan: Plan, mistakes: Sequence[Violation], now: int
    ) -> None:
        check_ids(namespace=namespace)
        violations = [*mistakes, *check_plan(plan, now)]
        if not _ID.fullmatch(schedule_id):
            message = "is not 1 to 150 letters, digits, '.', '_' or '-', beginning with one of the first two"
            violations.insert(0, Violation("schedule_id", f"{schedule_id[:80]!r} {message}"))
        if violations:
            raise ScheduleInvalid(schedule_id, violations)
        target = plan.target
        stored = await self._workflows.find(namespace, target.workflow, target.version)
        first = next(plan.timetable.moments(now))
        check_input(stored.definition, target.input_at(first, plan.timetable.zone))


def _check_request_id(request_id: str) -> None:
    if request_id:
        check_ids(request_id=request_id)


def _range_violations(start_at: int, end_at: int, now: int) -> list[Violation]:
    found = []
    for name, moment in (("start_at", start_at), ("end_at", end_at)):
        if not moment:
            found.append(Violation(name, "is missing"))
        elif moment < 0:
            found.append(Violation(name, "must lie after 1970"))
    if end_at > now:
        found.append(Violation("end_at", "lies in the future; a backfill is for moments that have passed"))
    elif start_at > end_at > 0:
        found.append(Violation("end_at", "lies before start_at"))
    return found
