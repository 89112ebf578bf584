"""What a schedule does at a moment: which starts happen, wait, or never happen, and when to look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from forgemesh.orchestrator.schedules.schedule import MAX_WAITING, Overlap, Reason, Run, RunState, Schedule
from forgemesh.orchestrator.values.retry import SECOND

MOMENTS_AT_ONCE = 1000
"""Moments that one decision takes up; after a long outage there are many."""
TOLD = 100
"""Runs of one decision that did not happen and are told one by one; the others are counted only."""

_REPLACING = (Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER)


@dataclass(frozen=True, slots=True)
class Decision:
    """
    `schedule` and `runs`, those of which something has changed, have to be durable before anything happens. Then its
    open executions are stopped as `stop` says, and `schedule.starting` are carried out.

    `wake` is when to decide again if nothing else happens (Unix nanoseconds), None: not at all. `more`: at once, for
    moments that are due and not decided yet.
    """

    schedule: Schedule
    runs: tuple[Run, ...]
    stop: Literal["cancel", "terminate"] | None
    wake: int | None
    more: bool


def decide(schedule: Schedule, now: int, *, busy: bool, asked: Sequence[Run] = ()) -> Decision:
    """`busy`: an execution that the schedule started is open; `asked` are starts that somebody asks for now."""
    turn = _Turn(schedule, now, open=busy, busy=busy or bool(schedule.starting))
    turn.take_up()
    turn.waiting += asked
    turn.sort_out()
    return turn.decision()


@dataclass(slots=True)
class _Turn:
    schedule: Schedule
    now: int
    open: bool
    busy: bool
    cursor: int = 0
    used: int = 0
    wake: int | None = None
    more: bool = False
    waiting: list[Run] = field(default_factory=list)
    starting: list[Run] = field(default_factory=list)
    over: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cursor, self.used = self.schedule.cursor, self.schedule.used
        self.waiting = list(self.schedule.waiting)

    def take_up(self) -> None:
        """Whatever is due and not decided yet."""
        plan = self.schedule.plan
        if self.schedule.exhausted:
            return
        oldest = self.now - plan.catchup_window * SECOND
        for taken, (moment, due) in enumerate(plan.timetable.dues(self.cursor, self.schedule.seed)):
            if due > self.now:
                self.wake = due
                return
            if taken == MOMENTS_AT_ONCE:
                self.more, self.wake = True, self.now
                return
            self.cursor = moment
            run = Run(moment, decided_at=self.now)
            if self.schedule.pause is not None:
                self._end(run, RunState.SKIPPED, Reason.PAUSED)
            elif due < oldest:
                self._end(run, RunState.MISSED, Reason.CATCHUP_WINDOW)
            else:
                self.waiting.append(run)

    def sort_out(self) -> None:
        """Among those that wait: what starts, what goes on waiting, what never happens."""
        waiting, self.waiting = self.waiting, []
        newest = next((run for run in reversed(waiting) if self._replaces(run)), None)
        for run in waiting:
            if self._held(run):
                self.waiting.append(run)
            elif self._replaces(run) and run is not newest:
                self._end(run, RunState.SKIPPED, Reason.SUPERSEDED)
            elif run is newest and self.more:
                self.waiting.append(run)  # a newer one follows
            elif not self.busy or self._policy(run) is Overlap.ALLOW_ALL:
                self._start(run)
            else:
                self._overlap(run)

    def decision(self) -> Decision:
        tally = self.schedule.tally
        missed = sum(run.state is RunState.MISSED for run in self.over)
        tally = replace(tally, missed=tally.missed + missed, skipped=tally.skipped + len(self.over) - missed)
        schedule = replace(
            self.schedule,
            cursor=self.cursor,
            used=self.used,
            tally=tally,
            waiting=tuple(self.waiting),
            starting=self.schedule.starting + tuple(self.starting),
        )
        waited = {run.name for run in self.schedule.waiting}
        fresh = [run for run in self.waiting if run.name not in waited]
        told = [run for run in self.over[:-TOLD] if run.name in waited or not run.scheduled] + self.over[-TOLD:]
        runs = (*self.starting, *fresh, *told)
        exhausted = schedule.exhausted
        return Decision(schedule, runs, self._stop(), None if exhausted else self.wake, self.more and not exhausted)

    def _held(self, run: Run) -> bool:
        """Whether the schedule's pause holds it; what somebody asked for goes on."""
        return self.schedule.pause is not None and run.scheduled

    def _policy(self, run: Run) -> Overlap:
        return run.overlap or self.schedule.plan.overlap

    def _replaces(self, run: Run) -> bool:
        return self._policy(run) in _REPLACING and not self._held(run)

    def _overlap(self, run: Run) -> None:
        match self._policy(run):
            case Overlap.SKIP:
                self._end(run, RunState.SKIPPED, Reason.OVERLAP)
            case Overlap.BUFFER_ONE:
                if any(self._policy(other) is Overlap.BUFFER_ONE for other in self.waiting):
                    self._end(run, RunState.SKIPPED, Reason.OVERLAP)
                else:
                    self.waiting.append(run)
            case Overlap.BUFFER_ALL:
                if len(self.waiting) < MAX_WAITING:
                    self.waiting.append(run)
                else:
                    self._end(run, RunState.SKIPPED, Reason.BUFFER_FULL)
            case Overlap.CANCEL_OTHER | Overlap.TERMINATE_OTHER:
                self.waiting.append(run)
            case Overlap.ALLOW_ALL:
                raise AssertionError("it starts whatever is open")
            case policy:
                assert_never(policy)

    def _start(self, run: Run) -> None:
        if run.scheduled and 0 < self.schedule.plan.max_starts <= self.used:
            self._end(run, RunState.SKIPPED, Reason.EXHAUSTED)
            return
        self.used += run.scheduled
        self.busy = True
        self.starting.append(replace(run, state=RunState.STARTING, decided_at=self.now))

    def _end(self, run: Run, state: RunState, reason: str) -> None:
        self.over.append(replace(run, state=state, reason=reason, decided_at=self.now))

    def _stop(self) -> Literal["cancel", "terminate"] | None:
        """How what is open makes room for the one that is to replace it."""
        newest = next((run for run in self.waiting if self._replaces(run)), None)
        if newest is None or self.more or not self.open:
            return None
        return "cancel" if self._policy(newest) is Overlap.CANCEL_OTHER else "terminate"
