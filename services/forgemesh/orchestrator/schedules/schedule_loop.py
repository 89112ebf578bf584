"""One schedule in operation: each decision is durable before anything of it happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from forgemesh.chassis.backoff import longest_pause
from forgemesh.faults import Code, Fault, code_of, reason_of
from forgemesh.faults.schedule import ScheduleFull, ScheduleNotFound
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.schedules.ports import Opened, ScheduledStart, ScheduleStore, Starter, WallClock
from forgemesh.orchestrator.schedules.schedule import MAX_WAITING, Occasion, Overlap, Run, Schedule
from forgemesh.orchestrator.schedules.scheduling import Decision, decide
from forgemesh.orchestrator.values.retry import SECOND

_log = logging.getLogger(__name__)

_INITIAL_BACKOFF = 0.5
_MAX_BACKOFF = 30.0


class ScheduleLoop:
    """
    `schedule` is what is durable of it.

    After a crash what was decided and not confirmed is carried out again; it has the same ids, so that what had
    happened already is found and not repeated.
    """

    def __init__(self, schedule: Schedule, store: ScheduleStore, starter: Starter, clock: WallClock) -> None:
        self.schedule = schedule
        self._store = store
        self._starter = starter
        self._clock = clock
        self._lock = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._deleted = False

    def nudge(self) -> None:
        """Something has happened that it may wait for."""
        self._nudged.set()

    async def run(self) -> None:
        """Until it is deleted, or cancelled."""
        failures = 0
        while not self._deleted:
            self._nudged.clear()
            try:
                async with self._lock:
                    wake = await self._turn()
                failures = 0
            except Exception as error:  # noqa: BLE001 - one schedule's trouble is not that of the others
                failures += 1
                seconds = longest_pause(failures - 1, first=_INITIAL_BACKOFF, most=_MAX_BACKOFF)
                wake = self._clock.now() + int(seconds * SECOND)
                _tell(self.schedule, error, failures)
            await self._clock.wait(self._nudged, wake)

    async def change(self, change: Callable[[Schedule, int], Schedule]) -> Schedule:
        """Decide what is due by then, then change the schedule; raises ScheduleNotFound."""
        async with self._lock:
            await self._decide_all()
            changed = change(self.schedule, self._clock.now())
            if changed != self.schedule:
                await self._store.save(changed, ())
                self.schedule = changed
            self.nudge()
            return self.schedule

    async def ask(
        self,
        moments: Sequence[int],
        occasion: Occasion,
        overlap: Overlap | None,
        request_id: str,
        linked_span: str,
        content: str,
    ) -> list[Run]:
        """
        Take up starts that somebody asks for, once and now if there are no moments, and what became of them by now.

        The same `request_id` with the same `content`, a hash of what is asked for, gets the same starts. Raises
        RequestIdReused, ScheduleFull or ScheduleNotFound.
        """
        async with self._lock:
            earlier = await self.asked(request_id, content)
            if earlier:
                return earlier
            await self._decide_all()
            self._check_room(max(1, len(moments)), overlap)
            schedule, asked = self.schedule.asked_for(
                moments, occasion, self._clock.now(), overlap, request_id, linked_span
            )
            answer = self._answer(request_id, content) if request_id else None
            decision = await self._decide(schedule, asked, answer)
            told = {run.name: run for run in decision.runs}
            self.nudge()
            if not moments:
                told |= {run.name: run for run in await self._carry_out_now()}
            return [told[run.name] for run in asked]

    async def asked(self, request_id: str, content: str) -> list[Run]:
        """What the same request asked for before; raises RequestIdReused if it asked for something else."""
        return await self._store.asked(self.schedule, request_id, content) if request_id else []

    async def delete(self) -> None:
        """Forget it; what it started goes on."""
        async with self._lock:
            await self._store.delete(self.schedule.key)
            self._deleted = True
            self.nudge()

    async def _turn(self) -> int | None:
        """Everything that can be done by now; returns when to look again."""
        if self._deleted:
            return None
        await self._carry_out()
        while True:
            decision = await self._decide(self.schedule, ())
            await self._stop_others(decision)
            if not self.schedule.starting and not decision.more:
                return decision.wake
            await self._carry_out()

    async def _decide_all(self) -> None:
        if self._deleted:
            raise ScheduleNotFound(self.schedule.id)
        while (await self._decide(self.schedule, ())).more:
            pass

    def _answer(self, request_id: str, content: str) -> Recorded:
        return Recorded(
            namespace=self.schedule.namespace,
            request_id=request_id,
            content=content,
            at=self._clock.now(),
            schedule_key=self.schedule.key,
        )

    async def _decide(self, schedule: Schedule, asked: Sequence[Run], answer: Recorded | None = None) -> Decision:
        busy = bool(await self._open())
        decision = decide(schedule, self._clock.now(), busy=busy, asked=asked)
        if decision.schedule != self.schedule or decision.runs:
            await self._store.save(decision.schedule, decision.runs, answer)
            self.schedule = decision.schedule
        return decision

    async def _carry_out(self) -> list[Run]:
        """Start what is decided, in order; what becomes of it is durable when this returns."""
        schedule, settled = self.schedule, list[Run]()
        try:
            for run in self.schedule.starting:
                refusal = await self._refusal(run)
                if refusal is None:
                    schedule, told = schedule.started(run, self._clock.now())
                else:
                    schedule, told = schedule.refused(run, reason_of(refusal), refusal.message)
                settled.append(told)
        finally:
            if settled:
                await self._store.save(schedule, settled)
                self.schedule = schedule
        return settled

    async def _carry_out_now(self) -> list[Run]:
        """The same; what cannot be done at this moment is decided all the same, and happens as soon as it can."""
        try:
            return await self._carry_out()
        except Fault as fault:
            if code_of(fault) is not Code.UNAVAILABLE:
                raise
            return []

    async def _refusal(self, run: Run) -> Fault | None:
        """Start it; why that cannot be done, if no other try would change it."""
        target = self.schedule.plan.target
        start = ScheduledStart(
            namespace=self.schedule.namespace,
            schedule_id=self.schedule.id,
            incarnation=self.schedule.incarnation,
            workflow=target.workflow,
            version=target.version,
            input=target.input_at(run.moment, self.schedule.plan.timetable.zone),
            priority=target.priority,
            execution_id=self.schedule.execution_id(run),
            request_id=self.schedule.start_request_id(run),
            linked_span=run.linked_span,
        )
        try:
            await self._starter.start(start)
        except Fault as fault:
            if code_of(fault) is Code.UNAVAILABLE:
                raise
            return fault
        return None

    async def _stop_others(self, decision: Decision) -> None:
        """Make room for the start that is to replace what is open."""
        if decision.stop is None:
            return
        stop = self._starter.cancel if decision.stop == "cancel" else self._starter.terminate
        reason = f"schedule {self.schedule.id} starts another one in its place"
        for opened in await self._open():
            try:
                await stop(self.schedule.namespace, opened, reason)
            except Fault as fault:
                if code_of(fault) is Code.UNAVAILABLE:
                    raise

    async def _open(self) -> list[Opened]:
        return await self._starter.open_executions(self.schedule)

    def _check_room(self, asked: int, overlap: Overlap | None) -> None:
        waiting = len(self.schedule.waiting)
        at_once = (overlap or self.schedule.plan.overlap) is Overlap.ALLOW_ALL
        if not at_once and waiting + asked > MAX_WAITING:
            raise ScheduleFull(self.schedule.id, waiting, asked, MAX_WAITING)


def _tell(schedule: Schedule, error: Exception, failures: int) -> None:
    facts = {"schedule_id": schedule.id, "namespace": schedule.namespace}
    if isinstance(error, Fault):
        _log.warning("schedule %s has to wait, try %d: %s", schedule.id, failures, error.message, extra=facts)
    else:
        _log.error("schedule %s failed, run %d in a row", schedule.id, failures, exc_info=error, extra=facts)
