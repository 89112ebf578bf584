"""
The database of an orchestrator that knew one owner of the whole file, and no shards, opens and goes on.

It has been had by three owners; spans were sent up to position 6. One execution has ended, and another one has its id;
one is open with payloads that are stored apart, one holds a key for which another one waits, one has a child, one is
paused; there is a kept result and a schedule.
"""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.service import DataCorrupted, StoreUnavailable
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.sqlite.schedule_store import SqliteScheduleStore
from forgemesh.orchestrator.values.shard import SOLE, Shard
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import database_at, orchestrator_over, store_over

OLD = Path(__file__).parents[2] / "data" / "orchestrator-one-owner.db.gz"
CHILD = "parent.child.1-8778a6bc881959c7"
OPEN = ["ended", "open", "holder", "waiter", "parent", CHILD, "paused"]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "orchestrator.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    async with database_at(path) as opened:
        yield opened


async def test_the_next_owner_counts_on_and_the_one_before_is_refused(database: Database) -> None:
    store = await store_over(database)
    row = await store.find("default", "open")
    assert row is not None

    with pytest.raises(StoreUnavailable, match="owner epoch 4 has replaced epoch 3"):
        await store.append(row.key, Shard(SOLE, 3), [e.Event(row.sequence + 1, 12, e.StepUnblocked("b", 1))], None)
    assert store.shard == Shard(SOLE, 4)


async def test_everything_is_in_the_one_shard_as_it_was(database: Database) -> None:
    store = await store_over(database)
    rows = await store.open_executions({SOLE})
    ended = await store.find("default", "ended~1")
    schedules = await SqliteScheduleStore(database, store.fence, store.damages).load()

    assert [row.execution_id for row in rows] == OPEN
    assert ended is not None
    assert {row.shard for row in (*rows, ended)} == {SOLE}
    assert await store.open_executions({SOLE + 1}) == []
    granted = {slot.execution_id: slot.granted for slot in await store.slots({SOLE})}
    assert granted == {"holder": True, "waiter": False}
    assert await store.spans_sent(SOLE) == 6
    assert [row.execution_id for row in await store.executions_after(SOLE, 6)] == OPEN
    assert [kept.output.data for kept in await store.cached(b"key", 0)] == [b"7"]
    assert [schedule.id for schedule in schedules] == ["hourly"]
    assert store.damaged == ()


async def test_a_shard_that_changes_behind_our_back_is_damage(database: Database) -> None:
    store = await store_over(database)
    await database.write(lambda connection: connection.execute("UPDATE execution SET shard = 1 WHERE key = 4"))

    rows = await store.open_executions({SOLE})

    assert [row.execution_id for row in rows] == [name for name in OPEN if name != "holder"]
    assert [said.partition(":")[0] for said in store.damaged] == ["execution 4 is damaged"]
    with pytest.raises(DataCorrupted):
        await store.find("default", "holder")


async def test_every_execution_goes_on_under_the_new_epoch(database: Database, hosts: ScriptedHosts) -> None:
    orchestrator = orchestrator_over(await store_over(database), hosts)
    orchestrator.offered.concurrency_slots.load(await orchestrator.store.slots({SOLE}))
    await orchestrator.recovery.run()
    await orchestrator.offered.controls.resume("default", "paused", "", "me")
    for name, lost in (("ended", 1), ("paused", 0), (CHILD, 1)):
        await hosts.answer("a", attempt=lost + 1, execution_id=name)
        await hosts.answer("b", execution_id=name)
    await hosts.answer("b", attempt=2, execution_id="open")
    await hosts.answer("a", attempt=2, execution_id="holder")
    await hosts.answer("a", execution_id="waiter")

    assert {name: (await orchestrator.ended(name)).status for name in OPEN} == dict.fromkeys(OPEN, Status.SUCCEEDED)
    epochs = [
        one.fact.epoch for one in await orchestrator.history("open") if isinstance(one.fact, e.ExecutionRecovered)
    ]
    assert epochs == [4]
