"""What is SQLite's own of the store; what every store promises is in tests/component/store_contract."""

import asyncio
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.sqlite.deletion import expired
from forgemesh.orchestrator.store.sqlite.execution_rows import page
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.payload import Payload
from tests.component.store_contract.histories import new, step, write


async def started(store: SqliteStore, execution_id: str = "e") -> int:
    return (await write(store, new(store.shard, execution_id))).key


async def test_what_is_queued_at_once_is_one_commit(database: Database, store: SqliteStore) -> None:
    keys = [await started(store, f"e-{number}") for number in range(50)]
    statuses = [Status.PAUSING, Status.PAUSED, Status.RUNNING, Status.CANCELLING, Status.CANCELLED]
    before = sum(database.commits.series[()].counts)

    await asyncio.gather(
        *(
            store.append(key, store.shard, [step(sequence)], Standing(status))
            for sequence, status in enumerate(statuses, start=3)
            for key in keys
        )
    )

    assert sum(database.commits.series[()].counts) == before + 1


async def test_an_event_in_the_place_of_another_is_reported(database: Database, store: SqliteStore) -> None:
    key = await started(store)
    await store.append(key, store.shard, [step(3)], None)
    await database.write(lambda connection: connection.execute("UPDATE event SET sequence = 9 WHERE sequence = 3"))

    with pytest.raises(DataCorrupted) as corrupted:
        await store.events(key, 1, 10)

    assert corrupted.value.metadata["record"] == f"event {key}/3"


async def test_a_large_payload_is_stored_once_however_often_it_is_passed_on(
    database: Database, store: SqliteStore
) -> None:
    large = Payload(b'"' + b"x" * 1_000_000 + b'"')
    key = await started(store)
    events = [step(sequence, large) for sequence in range(3, 13)]
    await store.append(key, store.shard, events, None)
    sql = "SELECT (SELECT sum(length(body)) FROM event), (SELECT sum(length(data)) FROM blob)"

    inline, apart = await database.read(lambda connection: tuple(connection.execute(sql).fetchone()))
    assert inline < 10_000
    assert apart == large.size
    assert [await store.events(key, event.sequence, 1) for event in events] == [[event] for event in events]
    await store.delete_execution(key, store.shard)
    count = await database.read(lambda connection: int(connection.execute("SELECT count(*) FROM blob").fetchone()[0]))
    assert count == 0


async def plans_of(database: Database, ask: Callable[[sqlite3.Connection], object]) -> list[str]:
    """How SQLite goes about each of the queries."""

    def work(connection: sqlite3.Connection) -> list[str]:
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        ask(connection)
        connection.set_trace_callback(None)
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in asked]
        return ["\n".join(row["detail"] for row in plan) for plan in plans]

    return await database.read(work)


@pytest.mark.parametrize("order", ExecutionOrder)
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"open_only": True},
        {"incidents_only": True},
        {"workflows": ("w",)},
        {"statuses": (Status.FAILED,)},
        {"parent_id": "e"},
        {"schedule_id": "s"},
        {"concurrency_key": "k"},
        {"id_prefix": "e"},
    ],
    ids=str,
)
async def test_no_list_looks_at_every_execution(
    database: Database, store: SqliteStore, facts: dict[str, Any], order: ExecutionOrder
) -> None:
    wanted = ExecutionFilter(namespace="default", **facts)

    (plan,) = await plans_of(database, lambda connection: page(connection, wanted, order, "", 10))

    assert "SEARCH execution USING INDEX" in plan
    assert ("USE TEMP B-TREE" in plan) == ("id_prefix" in facts)


async def test_what_has_expired_is_found_without_looking_at_every_execution(
    database: Database, store: SqliteStore
) -> None:
    plans = await plans_of(database, lambda connection: expired(connection, 100, 5, 10))

    assert len(plans) == 2
    assert all(re.search("SEARCH execution USING (COVERING )?INDEX execution_past", plan) for plan in plans)
    assert not any("USE TEMP B-TREE" in plan for plan in plans)


@pytest.mark.parametrize("column", ["status", "workflow", "trace_id", "ended_at", "execution_id"])
async def test_a_row_that_was_changed_behind_our_back_is_reported(
    database: Database, store: SqliteStore, column: str
) -> None:
    await started(store)
    sql = f"UPDATE execution SET {column} = CASE typeof({column}) WHEN 'integer' THEN {column} + 1 ELSE 'FAILED' END"
    await database.write(lambda connection: connection.execute(sql))

    with pytest.raises(DataCorrupted, match="execution 1"):
        await store.find(*await _name(database))


async def _name(database: Database) -> tuple[str, str]:
    """Of the one execution, as it is called now."""

    def work(connection: sqlite3.Connection) -> tuple[str, str]:
        namespace, execution_id = connection.execute("SELECT namespace, execution_id FROM execution").fetchone()
        return namespace, execution_id

    return await database.read(work)
