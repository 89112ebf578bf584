"""A schedule as its owner writes it and sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, cast

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1 import schedule_pb2 as pb
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client.payload import decoded, encoded
from forgemesh.faults.workflow import PayloadUnreadable
from forgemesh.language.json_value import JSON

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
Occasion = Literal["scheduled", "triggered", "backfilled"]
RunState = Literal["waiting", "starting", "started", "skipped", "missed", "refused"]

_OVERLAP, _OCCASION, _STATE = "OVERLAP_POLICY_", "SCHEDULE_OCCASION_", "SCHEDULE_RUN_STATE_"


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so much time since 1970-01-01T00:00:00Z, moved by `offset`; both in whole seconds."""

    every: timedelta
    offset: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlan:
    """
    What a schedule starts, and when: at every moment of its `crons` and `intervals`, of which it needs at least one.

    `input` is anything msgspec encodes as JSON, or a Payload; its field `moment_field` is set to the moment. `zone` is
    that of the cron rules, UTC if empty. Lengths of time are whole seconds; `start_at` and `end_at` need a time zone.
    `catchup_window` None is a year, `max_starts` 0 no limit.
    """

    workflow: str
    version: str = ""
    input: object = None
    moment_field: str = ""
    priority: int = 0
    crons: Sequence[str] = ()
    intervals: Sequence[Interval] = ()
    zone: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: timedelta = timedelta()
    overlap: Overlap = "skip"
    catchup_window: timedelta | None = None
    max_starts: int = 0
    description: str = ""

    def message(self) -> pb.SchedulePlan:
        """As the API takes it; raises ValueError for a length of time or a moment that it cannot say."""
        intervals = [
            pb.Interval(every_seconds=whole_seconds(one.every), offset_seconds=whole_seconds(one.offset))
            for one in self.intervals
        ]
        return pb.SchedulePlan(
            timetable=pb.Timetable(
                crons=self.crons,
                intervals=intervals,
                time_zone=self.zone,
                start_at=stamp(self.start_at),
                end_at=stamp(self.end_at),
                jitter_seconds=whole_seconds(self.jitter),
            ),
            target=pb.ScheduleTarget(
                workflow=self.workflow,
                workflow_version=self.version,
                input=encoded(self.input, "the schedule's input", "plan.target.input"),
                moment_field=self.moment_field,
                priority=self.priority,
            ),
            overlap_policy=overlap_number(self.overlap),
            catchup_window_seconds=whole_seconds(self.catchup_window or timedelta()),
            max_starts=self.max_starts,
            description=self.description,
        )

    @classmethod
    def of(cls, message: pb.SchedulePlan) -> Self:
        """As the API told it."""
        timetable, target = message.timetable, message.target
        return cls(
            workflow=target.workflow,
            version=target.workflow_version,
            input=_input(target.input),
            moment_field=target.moment_field,
            priority=target.priority,
            crons=tuple(timetable.crons),
            intervals=tuple(
                Interval(timedelta(seconds=one.every_seconds), timedelta(seconds=one.offset_seconds))
                for one in timetable.intervals
            ),
            zone=timetable.time_zone,
            start_at=moment(timetable.start_at) if timetable.HasField("start_at") else None,
            end_at=moment(timetable.end_at) if timetable.HasField("end_at") else None,
            jitter=timedelta(seconds=timetable.jitter_seconds),
            overlap=cast("Overlap", _word(pb.OverlapPolicy.Name(message.overlap_policy), _OVERLAP)),
            catchup_window=timedelta(seconds=message.catchup_window_seconds),
            max_starts=message.max_starts,
            description=message.description,
        )


def _input(payload: Payload) -> Any:
    """As it was given; a Payload where a value would not say the same, or where there is none to read."""
    if payload.media_type not in ("", JSON) or payload.metadata:
        return payload
    try:
        return decoded(payload)
    except PayloadUnreadable:
        return payload


@dataclass(frozen=True, slots=True)
class ScheduleMoment:
    """A moment of a timetable, and when the start is due: later by the jitter."""

    moment: datetime
    due: datetime

    @classmethod
    def of(cls, message: pb.ScheduleMoment) -> Self:
        """As the API told it."""
        return cls(moment(message.moment), moment(message.due))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRun:
    """
    A start that a schedule decided about. `reason` and `error` say why it does not happen; `message` is the API's.

    `execution_id` is known whether or not the execution has been started.
    """

    moment: datetime
    occasion: Occasion
    state: RunState
    execution_id: str
    reason: str
    error: str
    decided_at: datetime
    message: pb.ScheduleRun = field(repr=False, compare=False)

    @classmethod
    def of(cls, message: pb.ScheduleRun) -> Self:
        """As the API told it."""
        return cls(
            moment=moment(message.moment),
            occasion=cast("Occasion", _word(pb.ScheduleOccasion.Name(message.occasion), _OCCASION)),
            state=cast("RunState", _word(pb.ScheduleRunState.Name(message.state), _STATE)),
            execution_id=message.execution_id,
            reason=message.reason,
            error=message.message,
            decided_at=moment(message.decided_at),
            message=message,
        )


@dataclass(frozen=True, slots=True)
class SchedulePause:
    """Who paused a schedule, why, and when."""

    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTally:
    """How many starts came to what; those that wait are not counted yet."""

    started: int
    skipped: int
    missed: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """
    A schedule as it stood when it was asked for; `message` is the API's.

    `incarnation_id` tells it from others that have had, or will have, its id. `waiting`, `recent` and
    `open_execution_ids` are known if it was asked for alone. `exhausted`: it has started as much as it may.
    """

    id: str
    namespace: str
    plan: SchedulePlan
    revision: int
    created_at: datetime
    updated_at: datetime
    pause: SchedulePause | None
    tally: ScheduleTally
    exhausted: bool
    first_started_at: datetime | None
    last_started_at: datetime | None
    next_moments: tuple[ScheduleMoment, ...]
    waiting: tuple[ScheduleRun, ...]
    recent: tuple[ScheduleRun, ...]
    open_execution_ids: tuple[str, ...]
    incarnation_id: str
    message: pb.Schedule = field(repr=False, compare=False)

    @classmethod
    def of(cls, message: pb.Schedule) -> Self:
        """As the API told it."""
        pause, tally = message.pause, message.tally
        return cls(
            id=message.schedule_id,
            namespace=message.namespace,
            plan=SchedulePlan.of(message.plan),
            revision=message.revision,
            created_at=moment(message.created_at),
            updated_at=moment(message.updated_at),
            pause=SchedulePause(pause.by, pause.reason, moment(pause.at)) if message.HasField("pause") else None,
            tally=ScheduleTally(
                started=tally.started, skipped=tally.skipped, missed=tally.missed, refused=tally.refused
            ),
            exhausted=message.exhausted,
            first_started_at=moment(message.first_started_at) if message.HasField("first_started_at") else None,
            last_started_at=moment(message.last_started_at) if message.HasField("last_started_at") else None,
            next_moments=tuple(ScheduleMoment.of(one) for one in message.next_moments),
            waiting=tuple(ScheduleRun.of(one) for one in message.waiting),
            recent=tuple(ScheduleRun.of(one) for one in message.recent),
            open_execution_ids=tuple(message.open_execution_ids),
            incarnation_id=message.incarnation_id,
            message=message,
        )


def overlap_number(overlap: Overlap | None) -> pb.OverlapPolicy.ValueType:
    """The policy's value in the API; None says nothing."""
    return pb.OverlapPolicy.Value(_OVERLAP + (overlap or "unspecified").upper())


def whole_seconds(length: timedelta) -> int:
    """Raises ValueError for a length of time with a fraction of a second."""
    if length % timedelta(seconds=1):
        raise ValueError(f"{length} is not a whole number of seconds")
    return length // timedelta(seconds=1)


def stamp(at: datetime | None) -> Timestamp | None:
    """Raises ValueError for a moment without a time zone."""
    if at is None:
        return None
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; write e.g. datetime.now(UTC)")
    made = Timestamp()
    made.FromDatetime(at)
    return made


def moment(told: Timestamp) -> datetime:
    """In UTC."""
    return told.ToDatetime(UTC)


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
