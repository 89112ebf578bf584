import asyncio
import re
import sqlite3
from asyncio import Future
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import DataCorrupted, InvalidRequest
from forgemesh.faults.workflow import ExecutionExists
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Created, IdReuse, NewExecution, Request
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.sqlite.deletion import expired
from forgemesh.orchestrator.store.sqlite.execution_rows import page
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE, Shard
from tests.component.orchestrator.stores import asked
from tests.unit.orchestrator.workflows import call, of_steps

STARTED = e.ExecutionStarted(
    workflow="w", workflow_version="1.0.0", content_hash="h", input=Payload(b"{}"), trace_id=b"t" * 16
)

FIRST = [e.Event(1, 10, STARTED), e.Event(2, 11, e.AttemptStarted("a", 1, Payload(b"{}")))]


NEWEST = ExecutionOrder.STARTED_DESCENDING


def new(execution_id: str = "e", request_id: str = "", content: str = "c", **facts: object) -> NewExecution:
    known: dict[str, object] = {
        "shard": Shard(SOLE, 1),
        "namespace": "default",
        "execution_id": execution_id,
        "workflow": "w",
        "workflow_version": "1.0.0",
        "started_at": 10,
        "trace_id": "ab",
        "request": Request(request_id, content, bool(execution_id)),
        "standing": Standing(Status.RUNNING),
    }
    return NewExecution(**(known | facts))  # type: ignore[arg-type]


def nobody(written: Future[Created]) -> None:
    pass


async def created(store: SqliteStore, execution: NewExecution) -> Created:
    return await store.create(*asked(execution, FIRST), nobody)


async def ids(store: SqliteStore, order: ExecutionOrder = NEWEST, **wanted: Any) -> list[str]:
    """Of all pages, two executions each."""
    found: list[str] = []
    token = ""
    while True:
        part = await store.executions(ExecutionFilter(namespace="default", **wanted), order, token, 2)
        found += [row.execution_id for row in part.rows]
        token = part.next_token
        if not token:
            return found


async def five_executions(store: SqliteStore) -> None:
    for number in range(5):
        standing = Standing(Status.SUCCEEDED, 99 - number) if number % 2 else Standing(Status.RUNNING)
        await store.create(*asked(new(f"e-{number}", workflow=f"w{number % 2}", standing=standing), FIRST), nobody)
    await created(store, new("other", namespace="elsewhere"))


async def test_lists_are_paged_from_the_newest(store: SqliteStore) -> None:
    await five_executions(store)

    assert await ids(store) == ["e-4", "e-3", "e-2", "e-1", "e-0"]
    assert await ids(store, workflows=("w1",)) == ["e-3", "e-1"]
    assert await ids(store, statuses=(Status.RUNNING,)) == ["e-4", "e-2", "e-0"]
    assert [row.execution_id for row in await store.open_executions({SOLE})] == ["e-0", "e-2", "e-4", "other"]


async def test_lists_are_ordered_as_asked_for_with_what_is_open_as_the_last_to_end(store: SqliteStore) -> None:
    await five_executions(store)

    assert await ids(store, ExecutionOrder.STARTED_ASCENDING) == ["e-0", "e-1", "e-2", "e-3", "e-4"]
    assert await ids(store, ExecutionOrder.ENDED_ASCENDING) == ["e-3", "e-1", "e-0", "e-2", "e-4"]
    assert await ids(store, ExecutionOrder.ENDED_DESCENDING) == ["e-4", "e-2", "e-0", "e-1", "e-3"]


@pytest.mark.parametrize("end", ["\U0010ffff", "\U0010ffff\U0010ffff", "\ud7ff", "\x7f", "~"])
async def test_a_beginning_may_end_in_any_character(store: SqliteStore, end: str) -> None:
    names = [end, f"{end}z", f"y{end}", f"y{end}\U0010ffff", "y", "z"]
    for number, name in enumerate(names):
        await store.create(*asked(new(name, started_at=number), FIRST), nobody)

    assert sorted(await ids(store, id_prefix=end)) == sorted(one for one in names if one.startswith(end))
    assert sorted(await ids(store, id_prefix=f"y{end}")) == sorted([f"y{end}", f"y{end}\U0010ffff"])


async def test_lists_hold_only_what_the_whole_filter_fits(store: SqliteStore) -> None:
    await five_executions(store)
    await store.create(
        *asked(new("x_1", parent_id="e-1", schedule_id="s", concurrency_key="k", started_at=50), FIRST), nobody
    )
    await store.create(*asked(new("x%1", standing=Standing(Status.RUNNING, 0, 2), started_at=60), FIRST), nobody)

    assert await ids(store, id_prefix="x_") == ["x_1"]
    assert await ids(store, id_prefix="x") == ["x%1", "x_1"]
    assert await ids(store, parent_id="e-1", schedule_id="s", concurrency_key="k") == ["x_1"]
    assert await ids(store, parent_id="e-2", schedule_id="s") == []
    assert await ids(store, started_from=50, started_before=60) == ["x_1"]
    assert await ids(store, incidents_only=True) == ["x%1"]
    assert await ids(store, open_only=True, workflows=("w0", "w1")) == ["e-4", "e-2", "e-0"]


async def test_a_page_token_of_another_question_is_refused(store: SqliteStore) -> None:
    await five_executions(store)
    first = await store.executions(ExecutionFilter(namespace="default"), NEWEST, "", 2)

    with pytest.raises(InvalidRequest, match="page_token"):
        await store.executions(
            ExecutionFilter(namespace="default"), ExecutionOrder.ENDED_ASCENDING, first.next_token, 2
        )


@pytest.mark.parametrize(
    ("reuse", "status", "reused"),
    [
        (IdReuse.REJECT_DUPLICATE, Status.FAILED, False),
        (IdReuse.ALLOW_DUPLICATE, Status.SUCCEEDED, True),
        (IdReuse.ALLOW_DUPLICATE, Status.RUNNING, False),
        (IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, Status.SUCCEEDED, False),
        (IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, Status.COMPENSATED, True),
    ],
)
async def test_an_id_is_used_again_only_as_its_policy_says(
    store: SqliteStore, reuse: IdReuse, status: Status, reused: bool
) -> None:
    ended_at = 20 if status.final else 0
    first = await store.create(*asked(new("e", standing=Standing(status, ended_at)), FIRST), nobody)
    again = new("e", request=Request("", "other", id_chosen=True, reuse=reuse))

    if not reused:
        with pytest.raises(ExecutionExists):
            await store.create(*asked(again, FIRST), nobody)
        return
    second = await store.create(*asked(again, FIRST), nobody)
    old, young = await store.find("default", "e~1"), await store.find("default", "e")

    assert old is not None
    assert young is not None
    assert (old.key, young.key) == (first.key, second.key)


async def test_of_many_that_use_an_id_again_at_once_one_gets_it(store: SqliteStore) -> None:
    ended = Standing(Status.FAILED, 20)
    await store.create(*asked(new("e", standing=ended), FIRST), nobody)
    again = new("e", request=Request("", "other", id_chosen=True, reuse=IdReuse.ALLOW_DUPLICATE))

    answers = await asyncio.gather(
        *(store.create(*asked(again, FIRST), nobody) for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["Created", *["ExecutionExists"] * 4]
    assert sorted(await ids(store)) == ["e", "e~1"]


async def test_an_id_whose_execution_was_forgotten_meanwhile_is_free(database: Database, store: SqliteStore) -> None:
    first = await store.create(*asked(new("e", standing=Standing(Status.FAILED, 20)), FIRST), nobody)
    again = new("e", request=Request("", "other", id_chosen=True, reuse=IdReuse.ALLOW_DUPLICATE))

    _, second = await asyncio.gather(
        store.delete_execution(first.key, store.shard), store.create(*asked(again, FIRST), nobody)
    )

    assert second.created
    assert await ids(store) == ["e"]


async def test_a_large_payload_is_stored_once_however_often_it_is_passed_on(
    database: Database, store: SqliteStore
) -> None:
    large = Payload(b'"' + b"x" * 1_000_000 + b'"')
    key = (await created(store, new())).key
    events = [e.Event(n, 12, e.AttemptStarted("a", n, large)) for n in range(3, 13)]
    await store.append(key, store.shard, events, None)
    sql = "SELECT (SELECT sum(length(body)) FROM event), (SELECT sum(length(data)) FROM blob)"

    inline, apart = await database.read(lambda connection: tuple(connection.execute(sql).fetchone()))
    assert inline < 10_000
    assert apart == large.size
    assert [await store.events(key, event.sequence, 1) for event in events] == [[event] for event in events]


async def test_a_deleted_execution_takes_along_what_only_it_needed(database: Database, store: SqliteStore) -> None:
    shared, own = Payload(b'"' + b"s" * 300_000 + b'"'), Payload(b'"' + b"o" * 300_000 + b'"')
    first, second = (await created(store, new("a"))).key, (await created(store, new("b"))).key
    await store.append(first, store.shard, [e.Event(3, 12, e.AttemptStarted("a", 3, shared))], None)
    await store.append(first, store.shard, [e.Event(4, 12, e.AttemptStarted("a", 4, own))], None)
    await store.append(second, store.shard, [e.Event(3, 12, e.AttemptStarted("a", 3, shared))], None)

    await store.delete_execution(first, store.shard)
    assert await store.find("default", "a") is None
    assert await store.events(first, 1, 100) == []
    assert (await store.events(second, 3, 1))[0].fact == e.AttemptStarted("a", 3, shared)
    await store.delete_execution(second, store.shard)
    count = await database.read(lambda connection: int(connection.execute("SELECT count(*) FROM blob").fetchone()[0]))
    assert count == 0


async def test_what_has_expired_is_too_old_or_too_many(store: SqliteStore) -> None:
    for number in range(6):
        ended = Standing(Status.SUCCEEDED, 100 + number) if number < 5 else Standing(Status.RUNNING)
        await store.create(*asked(new(f"e-{number}", standing=ended), FIRST), nobody)

    assert await store.expired(102, 0, 100) == [1, 2]
    assert await store.expired(0, 3, 100) == [1, 2]
    assert await store.expired(102, 1, 3) == [1, 2, 3]
    assert await store.expired(104, 4, 100) == [1, 2, 3, 4]
    assert await store.expired(0, 0, 100) == []


async def test_an_ended_child_does_not_expire_while_its_parent_is_open(store: SqliteStore) -> None:
    parent = await created(store, new("parent", run_id="p1"))
    ended = Standing(Status.SUCCEEDED, 100)
    born = new("child", run_id="c1", parent_id="parent", parent_run="p1", standing=ended)
    child = await store.create(*asked(born, FIRST), nobody)

    assert await store.expired(200, 0, 100) == []
    await store.append(parent.key, store.shard, [e.Event(3, 12, e.StepCancelled("a"))], ended)
    assert await store.expired(200, 0, 100) == [parent.key, child.key]


async def test_an_ended_child_is_not_kept_for_another_execution_that_got_its_parents_id(store: SqliteStore) -> None:
    ended = Standing(Status.SUCCEEDED, 100)
    parent = await store.create(*asked(new("parent", run_id="p1", standing=ended), FIRST), nobody)
    born = new("child", run_id="c1", parent_id="parent", parent_run="p1", standing=ended)
    child = await store.create(*asked(born, FIRST), nobody)
    again = Request("", "", id_chosen=True, reuse=IdReuse.ALLOW_DUPLICATE)
    await store.create(*asked(new("parent", run_id="p2", request=again), FIRST), nobody)

    assert await store.expired(200, 0, 100) == [parent.key, child.key]


async def test_no_two_executions_have_one_run(store: SqliteStore) -> None:
    await created(store, new("one", run_id="r"))

    with pytest.raises(WriteConflict):
        await created(store, new("other", run_id="r"))


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
    await created(store, new("e"))
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


async def test_a_row_that_cannot_be_read_is_named_and_the_others_are_served(
    database: Database, store: SqliteStore
) -> None:
    for name in ("a", "b", "c"):
        await created(store, new(name))
    sql = "UPDATE execution SET trace_id = 'x' WHERE execution_id = 'b'"
    await database.write(lambda connection: connection.execute(sql))
    everything = ExecutionFilter(namespace="default")
    first = await store.executions(everything, NEWEST, "", 2)
    second = await store.executions(everything, NEWEST, first.next_token, 2)

    assert [row.execution_id for row in (*first.rows, *second.rows)] == ["c", "a"]
    assert [row.execution_id for row in await store.open_executions({SOLE})] == ["a", "c"]
    assert [said.partition(":")[0] for said in store.damaged] == ["execution 2 is damaged"]


async def test_a_definition_that_cannot_be_read_is_left_out_of_lists_and_refused_by_name(
    database: Database, store: SqliteStore
) -> None:
    for name in ("a", "b"):
        await store.keep_definition(of_steps(call("x"), name=name), 1)
    await database.write(lambda connection: connection.execute("UPDATE definition SET source = 'x' WHERE name = 'a'"))

    assert [kept.definition.name for kept in await store.definitions("default", "")] == ["b"]
    with pytest.raises(DataCorrupted):
        await store.definition("default", "a", "")


async def test_results_are_kept_until_they_expire(store: SqliteStore) -> None:
    older = KeptResult("p", "1.0.0", "ab", Payload(b"7", "text/plain", {"origin": "here"}))
    newer = KeptResult("p", "1.0.0", "cd", Payload(b"8"))
    await store.keep_result(b"k", replace(older, output=Payload(b"6")), 90)
    await store.keep_result(b"k", older, 100)
    await store.keep_result(b"k", newer, 101)

    assert await store.cached(b"k", 99) == [newer, older]
    assert await store.cached(b"k", 100) == [newer]
    assert await store.cached(b"other", 99) == []
