"""Schedules in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError

from forgemesh.api.orchestrator.v1.schedule_pb2 import SchedulePlan
from forgemesh.chassis.damages import Damages
from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import RequestIdReused
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.schedules.ports import KEPT_RUNS, DamagedSchedule
from forgemesh.orchestrator.schedules.schedule import Occasion, Overlap, Pause, Run, RunState, Schedule, Tally
from forgemesh.orchestrator.store.schedules import plan_from_message, plan_to_message
from forgemesh.orchestrator.store.sqlite.answers import answer_row, answered, has_started
from forgemesh.orchestrator.store.sqlite.schema import NEW_ANSWER, check, checksum

_SCHEDULE = (
    "namespace",
    "schedule_id",
    "plan",
    "revision",
    "created_at",
    "updated_at",
    "cursor",
    "paused_at",
    "paused_by",
    "paused_reason",
    "used",
    "last_number",
    "first_started_at",
    "last_started_at",
    "started",
    "skipped",
    "missed",
    "refused",
)
_RUN = (
    "schedule",
    "moment",
    "occasion",
    "number",
    "state",
    "overlap",
    "reason",
    "message",
    "decided_at",
    "request_id",
    "linked_span",
)
_OPEN = "state IN ('WAITING', 'STARTING')"
_OVER = "state NOT IN ('WAITING', 'STARTING')"
_SCHEDULE_ROW = f"({', '.join('?' * (len(_SCHEDULE) + 1))})"
_NEW_SCHEDULE = f"INSERT INTO schedule ({', '.join(_SCHEDULE)}, checksum) VALUES {_SCHEDULE_ROW}"  # noqa: S608
_CHANGED_SCHEDULE = f"UPDATE schedule SET ({', '.join(_SCHEDULE)}, checksum) = {_SCHEDULE_ROW} WHERE key = ?"  # noqa: S608
_CHANGED_RUN = (
    f"INSERT INTO schedule_run ({', '.join(_RUN)}, checksum) VALUES ({', '.join('?' * (len(_RUN) + 1))})"  # noqa: S608
    " ON CONFLICT (schedule, moment, occasion, number) DO UPDATE SET state = excluded.state, reason = excluded.reason,"
    " message = excluded.message, decided_at = excluded.decided_at, checksum = excluded.checksum"
)
_FORGOTTEN_RUNS = (
    f"DELETE FROM schedule_run WHERE {_OVER} AND schedule = :schedule AND (decided_at, key) < ("  # noqa: S608
    f" SELECT decided_at, key FROM schedule_run WHERE {_OVER} AND schedule = :schedule"
    f" ORDER BY decided_at DESC, key DESC LIMIT 1 OFFSET {KEPT_RUNS - 1})"
    " AND NOT (request_id <> '' AND EXISTS (SELECT 1 FROM answer WHERE answer.schedule = schedule_run.schedule"
    " AND answer.schedule > 0 AND answer.request_id = schedule_run.request_id))"
)
"""What a request was answered with is known as long as the answer is."""


class SqliteScheduleStore:
    """
    See schedule_ports.ScheduleStore. `fence` refuses writes once another process has taken the file over, `damages`
    is told what cannot be read.
    """

    def __init__(
        self, database: Database, fence: Callable[[sqlite3.Connection], None], damages: Damages | None = None
    ) -> None:
        self._database = database
        self._damages = damages or Damages()
        self.damaged: list[DamagedSchedule] = []
        self._fence = fence

    async def create(self, schedule: Schedule) -> Schedule:
        values = _values(schedule)

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(_NEW_SCHEDULE, (*values, checksum(values))).lastrowid or 0

        return replace(schedule, key=await self._database.write(work, guard=self._fence))

    async def save(self, schedule: Schedule, runs: Sequence[Run], answer: Recorded | None = None) -> None:
        values = _values(schedule)
        rows = [_run_values(schedule.key, run) for run in runs]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_CHANGED_SCHEDULE, (*values, checksum(values), schedule.key))
            connection.executemany(_CHANGED_RUN, [(*row, checksum(row)) for row in rows])
            if answer is not None:
                NEW_ANSWER.run(connection, [answer_row(answer)])
            if rows:
                connection.execute(_FORGOTTEN_RUNS, {"schedule": schedule.key})

        await self._database.write(work, guard=self._fence)

    async def delete(self, key: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM schedule_run WHERE schedule = ?", (key,))
            connection.execute("DELETE FROM schedule WHERE key = ?", (key,))

        await self._database.write(work, guard=self._fence)

    async def load(self) -> list[Schedule]:
        def work(connection: sqlite3.Connection) -> tuple[list[Schedule], list[DamagedSchedule]]:
            runs: dict[int, list[sqlite3.Row]] = {}
            for row in connection.execute(f"SELECT * FROM schedule_run WHERE {_OPEN} ORDER BY key"):  # noqa: S608
                runs.setdefault(row["schedule"], []).append(row)
            sound, damaged = list[Schedule](), list[DamagedSchedule]()
            for row in connection.execute("SELECT * FROM schedule ORDER BY namespace, schedule_id"):
                try:
                    sound.append(_schedule(row, [_run(run) for run in runs.get(row["key"], [])]))
                except DataCorrupted as fault:
                    self._damages.note(fault)
                    damaged.append(DamagedSchedule(row["key"], str(row["namespace"]), str(row["schedule_id"]), fault))
            return sound, damaged

        schedules, self.damaged = await self._database.read(work)
        return schedules

    async def recent(self, key: int, limit: int) -> list[Run]:
        clause = f"schedule = ? AND {_OVER} ORDER BY decided_at DESC, key DESC LIMIT ?"

        def work(connection: sqlite3.Connection) -> list[Run]:
            rows = connection.execute(f"SELECT * FROM schedule_run WHERE {clause}", (key, limit))  # noqa: S608
            return self._damages.sound(rows, _run)

        return await self._database.read(work)

    async def asked(self, schedule: Schedule, request_id: str, content: str) -> list[Run]:
        def work(connection: sqlite3.Connection) -> None:
            answer = answered(connection, schedule.namespace, request_id)
            execution_id = has_started(connection, schedule.namespace, request_id)
            same = answer is None or (answer.content, answer.schedule_key) == (content, schedule.key)
            if execution_id or not same:
                raise RequestIdReused(request_id, execution_id)

        await self._database.read(work)
        clause = "schedule = ? AND request_id = ? AND request_id <> '' ORDER BY moment"
        return await self._runs(clause, (schedule.key, request_id))

    async def _runs(self, clause: str, values: tuple[object, ...]) -> list[Run]:
        def work(connection: sqlite3.Connection) -> list[Run]:
            sql = f"SELECT * FROM schedule_run WHERE {clause}"  # noqa: S608
            return [_run(row) for row in connection.execute(sql, values)]

        return await self._database.read(work)


def _values(schedule: Schedule) -> tuple[object, ...]:
    pause, tally = schedule.pause, schedule.tally
    return (
        schedule.namespace,
        schedule.id,
        plan_to_message(schedule.plan).SerializeToString(deterministic=True),
        schedule.revision,
        schedule.created_at,
        schedule.updated_at,
        schedule.cursor,
        pause.at if pause is not None else 0,
        pause.by if pause is not None else "",
        pause.reason if pause is not None else "",
        schedule.used,
        schedule.last_number,
        schedule.first_started_at,
        schedule.last_started_at,
        tally.started,
        tally.skipped,
        tally.missed,
        tally.refused,
    )


def _schedule(row: sqlite3.Row, runs: Sequence[Run]) -> Schedule:
    record = f"schedule {row['schedule_id']!r}"
    check(row, _SCHEDULE, "checksum", record)
    try:
        plan = plan_from_message(SchedulePlan.FromString(row["plan"]))
    except DecodeError as error:
        raise DataCorrupted(record, str(error)) from error
    paused_at = row["paused_at"]
    return Schedule(
        key=row["key"],
        namespace=row["namespace"],
        id=row["schedule_id"],
        plan=plan,
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        cursor=row["cursor"],
        pause=Pause(row["paused_by"], row["paused_reason"], paused_at) if paused_at else None,
        used=row["used"],
        last_number=row["last_number"],
        first_started_at=row["first_started_at"],
        last_started_at=row["last_started_at"],
        tally=Tally(row["started"], row["skipped"], row["missed"], row["refused"]),
        waiting=tuple(run for run in runs if run.state is RunState.WAITING),
        starting=tuple(run for run in runs if run.state is RunState.STARTING),
    )


def _run_values(schedule: int, run: Run) -> tuple[object, ...]:
    return (
        schedule,
        run.moment,
        run.occasion.value,
        run.number,
        run.state.value,
        run.overlap.value if run.overlap is not None else "",
        run.reason,
        run.message,
        run.decided_at,
        run.request_id,
        run.linked_span,
    )


def _run(row: sqlite3.Row) -> Run:
    record = f"run of schedule {row['schedule']}/{row['moment']}"
    check(row, _RUN, "checksum", record)
    try:
        occasion, state = Occasion(row["occasion"]), RunState(row["state"])
        overlap = Overlap(row["overlap"]) if row["overlap"] else None
    except ValueError as error:
        raise DataCorrupted(record, str(error)) from error
    return Run(
        moment=row["moment"],
        occasion=occasion,
        number=row["number"],
        state=state,
        overlap=overlap,
        reason=row["reason"],
        message=row["message"],
        decided_at=row["decided_at"],
        request_id=row["request_id"],
        linked_span=row["linked_span"],
    )
