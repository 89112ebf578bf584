"""Schedules as tests make them, and a world in which one runs step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from forgemesh.orchestrator.schedules.schedule import Overlap, Plan, Run, RunState, Schedule, Target
from forgemesh.orchestrator.schedules.scheduling import Decision, decide
from forgemesh.orchestrator.schedules.timetable import Timetable
from forgemesh.orchestrator.values.retry import SECOND

MINUTE = 60 * SECOND


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    """A moment on the clock of a zone; `fold` 1 is the second of two with the same time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * SECOND


NOON = at("2026-11-25 12:00")


def plan(**facts: Any) -> Plan:
    """Every minute, unless it is said otherwise."""
    known: dict[str, Any] = {"timetable": Timetable(crons=("* * * * *",)), "target": Target(workflow="w")}
    return Plan(**(known | facts))


def schedule(created_at: int = NOON, **facts: Any) -> Schedule:
    """The schedule `s` with a plan of these facts."""
    return Schedule(
        namespace="default",
        id="s",
        plan=plan(**facts),
        created_at=created_at,
        updated_at=created_at,
        cursor=created_at,
    )


@dataclass
class World:
    """A schedule, the executions that it started and have not ended, and every decision that was told."""

    schedule: Schedule
    open: list[str] = field(default_factory=list)
    told: list[Run] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    wake: int | None = None

    def decide(self, now: int, asked: tuple[Run, ...] = ()) -> Decision:
        """Decide, and carry out what was decided."""
        while True:
            decision = decide(self.schedule, now, busy=bool(self.open), asked=asked)
            asked = ()
            self.schedule, self.wake = decision.schedule, decision.wake
            self.told += decision.runs
            if decision.stop is not None:
                self.stops.append(decision.stop)
            for run in self.schedule.starting:
                self.open.append(self.schedule.execution_id(run))
                self.schedule, started = self.schedule.started(run, now)
                self.told.append(started)
            if not decision.more:
                return decision

    def minute(self, number: int) -> None:
        """Decide at so many minutes after noon."""
        self.decide(NOON + number * MINUTE)

    def end(self) -> None:
        """Everything that is open ends."""
        self.open.clear()

    def outcomes(self) -> dict[int, str]:
        """What became of each moment, by minute after noon."""
        return {(run.moment - NOON) // MINUTE: _said(run) for run in self.told}


def world(overlap: Overlap, **facts: Any) -> World:
    return World(schedule(overlap=overlap, **facts))


def _said(run: Run) -> str:
    over = run.state in (RunState.SKIPPED, RunState.MISSED)
    return f"{run.state.value} {run.reason}" if over else run.state.value
