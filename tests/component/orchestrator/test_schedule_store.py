from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.schedules.schedule import Overlap, Run, RunState, Schedule, Target
from forgemesh.orchestrator.schedules.timetable import Interval, Timetable
from forgemesh.orchestrator.store.sqlite.schedule_store import SqliteScheduleStore
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


async def test_the_tables_stand_beside_the_orchestrators(tmp_path: Path) -> None:
    async with open_database(tmp_path / "o.db", MIGRATIONS) as database:
        store = SqliteScheduleStore(database, unfenced)
        created: Schedule = await store.create(schedule(NOON + MINUTE))

        assert await store.load() == [created]
