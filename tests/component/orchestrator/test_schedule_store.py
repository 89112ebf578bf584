from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.faults.service import DataCorrupted, StoreUnavailable
from forgemesh.faults.workflow import RequestIdReused
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.schedules.schedule import Occasion, Overlap, Pause, Run, RunState, Schedule, Tally, Target
from forgemesh.orchestrator.schedules.timetable import Interval, Timetable
from forgemesh.orchestrator.store.sqlite.schedule_store import KEPT_RUNS, SqliteScheduleStore
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.schedules import schedule_database, unfenced
from tests.unit.orchestrator.schedules import MINUTE, NOON, schedule

EVERYTHING = schedule(
    timetable=Timetable(
        crons=("0 9 * * MON-FRI", "@daily"),
        intervals=(Interval(3600, 60),),
        zone="Europe/Berlin",
        start_at=NOON,
        end_at=NOON + 10**18 + 1,
        jitter=30,
    ),
    target=Target(
        workflow="w",
        version="1.2.3",
        input=Payload(b'{"n": 12345678901234567890}', metadata={"k": "v"}),
        priority=-3,
        moment_field="day",
    ),
    overlap=Overlap.CANCEL_OTHER,
    catchup_window=86_400,
    max_starts=9,
    description="\N{SNOWMAN}",
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with schedule_database(tmp_path / "schedules.db") as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> SqliteScheduleStore:
    return SqliteScheduleStore(database, unfenced)


def runs(state: RunState, count: int, first: int = 0) -> tuple[Run, ...]:
    return tuple(Run(NOON + number * SECOND, state=state, decided_at=NOON) for number in range(first, first + count))


async def test_a_schedule_is_loaded_as_it_was_saved(store: SqliteScheduleStore) -> None:
    created = await store.create(EVERYTHING)
    asked = Run(NOON, Occasion.BACKFILLED, 7, RunState.WAITING, Overlap.ALLOW_ALL, "", "", NOON, "r", "ab-cd")
    changed = replace(
        created,
        revision=4,
        updated_at=NOON + 1,
        cursor=NOON + 2,
        pause=Pause("ann", "holiday", NOON + 3),
        used=5,
        last_number=6,
        first_started_at=NOON + 4,
        last_started_at=NOON + 5,
        tally=Tally(1, 2, 3, 4),
        waiting=(*runs(RunState.WAITING, 3), asked),
        starting=runs(RunState.STARTING, 2, first=10),
    )
    await store.save(changed, (*changed.waiting, *changed.starting))

    assert await store.load() == [changed]


async def test_what_a_run_came_to_replaces_what_it_was(store: SqliteScheduleStore) -> None:
    created = await store.create(schedule())
    (run,) = runs(RunState.WAITING, 1)
    await store.save(created, (run,))
    refused = replace(run, state=RunState.REFUSED, reason="R", message="m", decided_at=NOON + 1)
    await store.save(created, (refused,))

    assert await store.recent(created.key, 10) == [refused]
    assert await store.load() == [created]


async def test_decisions_come_newest_first_and_old_ones_are_forgotten(store: SqliteScheduleStore) -> None:
    created = await store.create(schedule())
    other = await store.create(replace(schedule(), id="other"))
    waiting = runs(RunState.WAITING, 1, first=9999)
    over = [replace(run, decided_at=run.moment) for run in runs(RunState.SKIPPED, KEPT_RUNS + 5)]
    await store.save(other, runs(RunState.SKIPPED, 1))
    await store.save(replace(created, waiting=waiting), (*waiting, *over))

    assert await store.recent(created.key, 3) == over[-1:-4:-1]
    assert await store.recent(created.key, 5000) == over[:4:-1]
    assert len(await store.recent(other.key, 10)) == 1
    assert (await store.load())[1].waiting == waiting


async def test_a_request_finds_what_it_asked_for(store: SqliteScheduleStore) -> None:
    created = await store.create(schedule())
    asked = [replace(run, request_id="r") for run in runs(RunState.STARTED, 2)]
    await store.save(created, (*asked, *runs(RunState.STARTED, 2, first=5)))

    assert await store.asked(created, "r", "an older release kept no content") == asked
    assert await store.asked(created, "other", "c") == []
    assert await store.asked(created, "", "c") == []


async def test_what_a_request_was_answered_with_is_kept_as_long_as_its_answer(store: SqliteScheduleStore) -> None:
    created = await store.create(schedule())
    asked = [replace(run, request_id="r") for run in runs(RunState.STARTED, 2)]
    answer = Recorded(namespace="default", request_id="r", content="c", at=NOON, schedule_key=created.key)
    await store.save(created, asked, answer)
    await store.save(
        created, [replace(run, decided_at=run.moment) for run in runs(RunState.SKIPPED, KEPT_RUNS + 5, first=5)]
    )

    assert await store.asked(created, "r", "c") == asked
    with pytest.raises(RequestIdReused):
        await store.asked(created, "r", "other")


async def test_a_deleted_schedule_leaves_nothing_and_its_key_is_not_used_again(
    store: SqliteScheduleStore, database: Database
) -> None:
    created = await store.create(schedule())
    await store.save(created, runs(RunState.WAITING, 3))
    await store.delete(created.key)
    again = await store.create(schedule())
    left = await database.read(lambda connection: connection.execute("SELECT * FROM schedule_run").fetchall())

    assert again.key > created.key
    assert left == []
    assert await store.load() == [again]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE schedule SET cursor = cursor + 1",
        "UPDATE schedule SET plan = substr(plan, 2)",
        "UPDATE schedule SET paused_reason = 'x'",
        "UPDATE schedule_run SET state = 'STARTING'",
        "UPDATE schedule_run SET moment = moment + 1",
    ],
)
async def test_nothing_happens_of_a_schedule_with_a_damaged_row(
    store: SqliteScheduleStore, database: Database, damage: str
) -> None:
    created = await store.create(schedule())
    await store.save(created, runs(RunState.WAITING, 1))
    await database.write(lambda connection: connection.execute(damage))

    assert await store.load() == []
    assert [type(one.fault) for one in store.damaged] == [DataCorrupted]


async def test_nothing_is_written_once_another_process_owns_the_file(database: Database) -> None:
    def fence(connection: sqlite3.Connection) -> None:
        raise StoreUnavailable("o.db", "owner epoch 2 has replaced epoch 1")

    created = await SqliteScheduleStore(database, unfenced).create(schedule())
    deposed = SqliteScheduleStore(database, fence)

    for write in (deposed.create(replace(schedule(), id="x")), deposed.save(created, ()), deposed.delete(created.key)):
        with pytest.raises(StoreUnavailable):
            await write
    assert await deposed.load() == [created]


async def test_the_tables_stand_beside_the_orchestrators(tmp_path: Path) -> None:
    async with open_database(tmp_path / "o.db", MIGRATIONS) as database:
        store = SqliteScheduleStore(database, unfenced)
        created: Schedule = await store.create(schedule(NOON + MINUTE))

        assert await store.load() == [created]


async def test_a_schedule_that_cannot_be_read_is_named_and_the_others_are_loaded(
    store: SqliteScheduleStore, database: Database
) -> None:
    broken = await store.create(schedule())
    sound = await store.create(replace(schedule(), id="sound"))
    await database.write(lambda connection: connection.execute("UPDATE schedule SET plan = x'00ff' WHERE key = 1"))

    assert await store.load() == [sound]
    assert [(one.key, one.schedule_id) for one in store.damaged] == [(broken.key, "s")]


async def test_a_decision_that_cannot_be_read_is_left_out_of_what_is_shown(
    store: SqliteScheduleStore, database: Database
) -> None:
    created = await store.create(schedule())
    await store.save(created, runs(RunState.STARTED, 3))
    await database.write(lambda connection: connection.execute("UPDATE schedule_run SET reason = 'x' WHERE key = 2"))

    assert len(await store.recent(created.key, 10)) == 2
