"""A schedule: what it starts, when, and how far it has come."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from itertools import islice

from forgemesh.orchestrator.schedules.timetable import Timetable, zone_of
from forgemesh.orchestrator.values.payload import EMPTY_OBJECT, Payload, json_payload
from forgemesh.orchestrator.values.retry import SECOND

YEAR = 365 * 86_400
"""
Seconds: the usual catch-up window. An outage is when a missed moment matters most, and with the usual overlap policy,
which is to skip, even a long one is followed by a single start.
"""
MAX_WAITING = 1000
"""Starts of one schedule that may wait at a time."""


class Overlap(Enum):
    """What becomes of a start while an execution that the same schedule started is open."""

    SKIP = "SKIP"
    """It does not happen."""
    BUFFER_ONE = "BUFFER_ONE"
    """One waits for the end of what is open; those after it do not happen."""
    BUFFER_ALL = "BUFFER_ALL"
    """They wait, and happen one after the other."""
    CANCEL_OTHER = "CANCEL_OTHER"
    """What is open is cancelled, and the newest start happens once that has ended."""
    TERMINATE_OTHER = "TERMINATE_OTHER"
    """The same, but what is open is terminated."""
    ALLOW_ALL = "ALLOW_ALL"
    """It happens at once."""


class Occasion(Enum):
    """Why a start was to happen."""

    SCHEDULED = "SCHEDULED"
    TRIGGERED = "TRIGGERED"
    BACKFILLED = "BACKFILLED"


class RunState(Enum):
    """What became of a start."""

    WAITING = "WAITING"
    STARTING = "STARTING"
    STARTED = "STARTED"
    SKIPPED = "SKIPPED"
    MISSED = "MISSED"
    REFUSED = "REFUSED"


class Reason:
    """Why a start did not happen; names that are never reused."""

    PAUSED = "PAUSED"
    OVERLAP = "OVERLAP"
    SUPERSEDED = "SUPERSEDED"
    BUFFER_FULL = "BUFFER_FULL"
    EXHAUSTED = "EXHAUSTED"
    CATCHUP_WINDOW = "CATCHUP_WINDOW"


@dataclass(frozen=True, slots=True)
class Run:
    """
    One start at a moment of the timetable, or when somebody asked for it; times are Unix nanoseconds.

    `number` is 0 for what the timetable says, and otherwise the second at which it was asked for, unique in the
    schedule. `overlap` None is the schedule's own policy, whatever that is by then.
    """

    moment: int
    occasion: Occasion = Occasion.SCHEDULED
    number: int = 0
    state: RunState = RunState.WAITING
    overlap: Overlap | None = None
    reason: str = ""
    message: str = ""
    decided_at: int = 0
    request_id: str = ""
    linked_span: str = ""

    @property
    def name(self) -> tuple[int, Occasion, int]:
        """Unique in its schedule."""
        return self.moment, self.occasion, self.number

    @property
    def scheduled(self) -> bool:
        return self.occasion is Occasion.SCHEDULED


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    What a schedule starts. An empty `version` is the highest at the time.

    If `moment_field` is set, the input's field of that name is the moment for which the start happens.
    """

    workflow: str
    version: str = ""
    input: Payload = EMPTY_OBJECT
    priority: int = 0
    moment_field: str = ""

    def input_at(self, moment: int, zone: str) -> Payload:
        """The input of the execution for a moment; raises ValueError if it has to be an object and is none."""
        if not self.moment_field:
            return self.input
        value = self.input.value()
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object, so that the moment can be put into it")
        at = datetime.fromtimestamp(moment // SECOND, zone_of(zone))
        return json_payload(value | {self.moment_field: at.isoformat()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What people decide about a schedule. `catchup_window` is in seconds; `max_starts` 0 is no limit."""

    timetable: Timetable
    target: Target
    overlap: Overlap = Overlap.SKIP
    catchup_window: int = YEAR
    max_starts: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    by: str
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many starts came to what; those that wait are not counted yet."""

    started: int = 0
    skipped: int = 0
    missed: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """
    A schedule as it stands; `key` is the store's own name for it, times are Unix nanoseconds.

    Every moment up to `cursor` is decided. `used` counts what has been taken of `plan.max_starts`, `last_number` is the
    newest `Run.number`. `waiting` are in order; `starting` are decided and possibly carried out already.
    """

    namespace: str
    id: str
    plan: Plan
    created_at: int
    updated_at: int
    cursor: int
    key: int = 0
    revision: int = 1
    pause: Pause | None = None
    used: int = 0
    last_number: int = 0
    first_started_at: int = 0
    last_started_at: int = 0
    tally: Tally = field(default_factory=Tally)
    waiting: tuple[Run, ...] = ()
    starting: tuple[Run, ...] = ()

    @property
    def seed(self) -> str:
        """Tells its jitter from that of others."""
        return f"{self.namespace}/{self.id}"

    @property
    def incarnation(self) -> str:
        """Tells it from every other schedule that has had, or will have, its id."""
        return f"{self.key:026d}"

    @property
    def exhausted(self) -> bool:
        """Whether it has started as much as it may."""
        return 0 < self.plan.max_starts <= self.used

    def following(self, count: int) -> list[tuple[int, int]]:
        """The next moments of its timetable, each with the time at which it is due."""
        if self.exhausted:
            return []
        if self.plan.max_starts:
            count = min(count, self.plan.max_starts - self.used)
        return list(islice(self.plan.timetable.dues(self.cursor, self.seed), count))

    def execution_id(self, run: Run) -> str:
        """The same for the same start, whenever it is asked for."""
        name = f"{self.id}-{stamp(run.moment)}"
        match run.occasion:
            case Occasion.SCHEDULED:
                return name
            case Occasion.TRIGGERED:
                return f"{name}-manual"
            case Occasion.BACKFILLED:
                return f"{name}-backfill-{stamp(run.number * SECOND)}"

    def start_request_id(self, run: Run) -> str:
        """Names the start for whoever carries it out, so that a repetition is known as one."""
        told = f"{self.namespace}/{self.created_at}/{self.execution_id(run)}"
        return f"schedule-{hashlib.sha256(told.encode()).hexdigest()}"

    def updated(self, plan: Plan, now: int) -> Schedule:
        """With another plan; a changed timetable counts from now on."""
        goes_on = plan.timetable == self.plan.timetable and not self.exhausted
        cursor = self.cursor if goes_on else max(self.cursor, now)
        return replace(self, plan=plan, revision=self.revision + 1, updated_at=now, cursor=cursor)

    def paused(self, pause: Pause) -> Schedule:
        return replace(self, pause=pause)

    def resumed(self) -> Schedule:
        return replace(self, pause=None)

    def asked_for(
        self, moments: Sequence[int], occasion: Occasion, now: int, overlap: Overlap | None, request_id: str, link: str
    ) -> tuple[Schedule, tuple[Run, ...]]:
        """The starts that somebody asks for, for a decision to take up; no moments: once, now."""
        number = max(now // SECOND, self.last_number + 1)
        runs = tuple(
            Run(
                moment,
                occasion,
                number,
                overlap=overlap,
                decided_at=now,
                request_id=request_id,
                linked_span=link,
            )
            for moment in moments or (number * SECOND,)
        )
        return replace(self, last_number=number), runs

    def started(self, run: Run, now: int) -> tuple[Schedule, Run]:
        """After a start was carried out."""
        tally = replace(self.tally, started=self.tally.started + 1)
        schedule = replace(
            self._without(run, tally), first_started_at=self.first_started_at or now, last_started_at=now
        )
        return schedule, replace(run, state=RunState.STARTED)

    def refused(self, run: Run, reason: str, message: str) -> tuple[Schedule, Run]:
        """After a start was refused, which trying again does not change."""
        tally = replace(self.tally, refused=self.tally.refused + 1)
        told = replace(run, state=RunState.REFUSED, reason=reason, message=message)
        return self._without(run, tally), told

    def _without(self, run: Run, tally: Tally) -> Schedule:
        return replace(self, starting=tuple(one for one in self.starting if one != run), tally=tally)


def stamp(moment: int) -> str:
    """A moment (Unix nanoseconds) as part of an id, e.g. 20261125T080000Z."""
    return f"{datetime.fromtimestamp(moment // SECOND, UTC):%Y%m%dT%H%M%SZ}"
