"""Schedules, their plans and their runs, as messages."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1 import schedule_pb2 as pb
from forgemesh.orchestrator.schedules.schedule import (
    YEAR,
    Occasion,
    Overlap,
    Pause,
    Plan,
    Run,
    RunState,
    Schedule,
    Target,
)
from forgemesh.orchestrator.schedules.timetable import Interval, Timetable
from forgemesh.orchestrator.values.payload import EMPTY_OBJECT
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.wire.payloads import moment, optional_payload, payload_to_message, timestamp

_OVERLAP = {one: pb.OverlapPolicy.Value(f"OVERLAP_POLICY_{one.value}") for one in Overlap}
OVERLAP: dict[int, Overlap] = {number: policy for policy, number in _OVERLAP.items()}
_OCCASION = {one: pb.ScheduleOccasion.Value(f"SCHEDULE_OCCASION_{one.value}") for one in Occasion}
_STATE = {one: pb.ScheduleRunState.Value(f"SCHEDULE_RUN_STATE_{one.value}") for one in RunState}


def plan_from_message(message: pb.SchedulePlan) -> Plan:
    """What is left out gets its default, also a policy that this release does not know."""
    return Plan(
        timetable=_timetable(message.timetable),
        target=Target(
            workflow=message.target.workflow,
            version=message.target.workflow_version,
            input=optional_payload(message.target, "input") or EMPTY_OBJECT,
            priority=message.target.priority,
            moment_field=message.target.moment_field,
        ),
        overlap=OVERLAP.get(message.overlap_policy, Overlap.SKIP),
        catchup_window=message.catchup_window_seconds or YEAR,
        max_starts=message.max_starts,
        description=message.description,
    )


def _timetable(message: pb.Timetable) -> Timetable:
    return Timetable(
        crons=tuple(message.crons),
        intervals=tuple(Interval(one.every_seconds, one.offset_seconds) for one in message.intervals),
        zone=message.time_zone,
        start_at=nanos(message.start_at) if message.HasField("start_at") else 0,
        end_at=nanos(message.end_at) if message.HasField("end_at") else 0,
        jitter=message.jitter_seconds,
    )


def nanos(stamp: Timestamp) -> int:
    """A moment that is set; the epoch itself and what lies before it is negative, because 0 stands for none."""
    return (stamp.seconds * SECOND + stamp.nanos) or -1


def plan_to_message(plan: Plan) -> pb.SchedulePlan:
    timetable, target = plan.timetable, plan.target
    return pb.SchedulePlan(
        timetable=pb.Timetable(
            crons=timetable.crons,
            intervals=[pb.Interval(every_seconds=one.every, offset_seconds=one.offset) for one in timetable.intervals],
            time_zone=timetable.zone,
            start_at=timestamp(timetable.start_at),
            end_at=timestamp(timetable.end_at),
            jitter_seconds=timetable.jitter,
        ),
        target=pb.ScheduleTarget(
            workflow=target.workflow,
            workflow_version=target.version,
            input=payload_to_message(target.input),
            moment_field=target.moment_field,
            priority=target.priority,
        ),
        overlap_policy=_OVERLAP[plan.overlap],
        catchup_window_seconds=plan.catchup_window,
        max_starts=plan.max_starts,
        description=plan.description,
    )


def schedule_to_message(schedule: Schedule, moments: int) -> pb.Schedule:
    """The schedule with so many of its next moments; what waits and what was decided is for `add_runs`."""
    tally = schedule.tally
    return pb.Schedule(
        namespace=schedule.namespace,
        schedule_id=schedule.id,
        plan=plan_to_message(schedule.plan),
        revision=schedule.revision,
        created_at=timestamp(schedule.created_at),
        updated_at=timestamp(schedule.updated_at),
        pause=_pause_to_message(schedule.pause) if schedule.pause is not None else None,
        tally=pb.ScheduleTally(
            started=tally.started, skipped=tally.skipped, missed=tally.missed, refused=tally.refused
        ),
        exhausted=schedule.exhausted,
        first_started_at=timestamp(schedule.first_started_at),
        last_started_at=timestamp(schedule.last_started_at),
        next_moments=moments_to_messages(schedule.following(moments)),
        incarnation_id=schedule.incarnation,
    )


def add_runs(message: pb.Schedule, schedule: Schedule, recent: Iterable[Run], open_executions: Iterable[str]) -> None:
    """What only a look at one schedule shows."""
    message.waiting.extend(run_to_message(schedule, run) for run in schedule.waiting)
    message.recent.extend(run_to_message(schedule, run) for run in recent)
    message.open_execution_ids.extend(open_executions)


def shrink(message: pb.Schedule, most: int) -> None:
    """Without its older decisions, its later starts and its open executions, as far as a message has no room."""
    for field in ("open_execution_ids", "recent", "waiting"):
        listed = getattr(message, field)
        while message.ByteSize() > most and listed:
            del listed[len(listed) // 2 :]


def _pause_to_message(pause: Pause) -> pb.SchedulePause:
    return pb.SchedulePause(by=pause.by, reason=pause.reason, at=timestamp(pause.at))


def moments_to_messages(moments: Iterable[tuple[int, int]]) -> list[pb.ScheduleMoment]:
    return [pb.ScheduleMoment(moment=moment(at), due=moment(due)) for at, due in moments]


def run_to_message(schedule: Schedule, run: Run) -> pb.ScheduleRun:
    return pb.ScheduleRun(
        moment=moment(run.moment),
        occasion=_OCCASION[run.occasion],
        state=_STATE[run.state],
        execution_id=schedule.execution_id(run),
        reason=run.reason,
        message=run.message,
        decided_at=timestamp(run.decided_at),
    )
