import asyncio
from asyncio import Future
from dataclasses import replace

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import DataCorrupted, StoreUnavailable
from forgemesh.faults.workflow import DefinitionConflict, ExecutionExists, RequestIdReused
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.ports.lists import ExecutionOrder
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Created, NewExecution, Request
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.sqlite.store import PAGE_BYTES, SqliteStore
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE, Shard
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.orchestrators import store_over
from tests.component.orchestrator.stores import asked
from tests.unit.orchestrator.workflows import parsed

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
    return await store.create(*asked(replace(execution, shard=store.shard), FIRST), nobody)


def definition(version: str = "", step: str = "a") -> str:
    line = f"version: {version}\n" if version else ""
    return f"name: w\n{line}steps: [{{id: {step}, call: {{plugin: p, operation: o}}}}]"


async def test_the_same_request_gets_the_same_answer_and_starts_nothing(store: SqliteStore) -> None:
    first = await created(store, new("e-1", "r"))

    again = await created(store, new("e-2", "r"))

    assert (first.execution_id, first.created) == ("e-1", True)
    assert (again.execution_id, again.created, again.key) == ("e-1", False, first.key)
    assert await store.find("default", "e-2") is None
    assert await store.started_by("default", Request("r", "c", False)) == again
    assert await store.started_by("default", Request("other", "c", False)) is None


async def test_a_request_id_means_one_content_in_one_namespace(store: SqliteStore) -> None:
    await created(store, new("e-1", "r"))

    with pytest.raises(RequestIdReused) as reused:
        await created(store, new("e-2", "r", content="other"))
    with pytest.raises(RequestIdReused):
        await store.started_by("default", Request("r", "other", False))
    elsewhere = await created(store, new("e-2", "r", content="other", namespace="elsewhere"))

    assert reused.value.metadata == {"request_id": "r", "execution_id": "e-1"}
    assert elsewhere.created


async def test_requests_without_an_id_have_nothing_to_do_with_one_another(store: SqliteStore) -> None:
    assert (await created(store, new("e-1"))).created
    assert (await created(store, new("e-2"))).created


async def test_an_execution_id_exists_once_in_a_namespace(store: SqliteStore) -> None:
    await created(store, new())

    with pytest.raises(ExecutionExists):
        await created(store, new(request_id="r"))
    assert (await created(store, new(namespace="elsewhere"))).created


async def test_of_many_starts_at_once_one_creates_and_the_others_find_it(store: SqliteStore) -> None:
    answers = await asyncio.gather(*(created(store, new(f"e-{number}", "r")) for number in range(20)))

    assert sum(answer.created for answer in answers) == 1
    assert len({answer.execution_id for answer in answers}) == 1
    assert len(await store.open_executions({SOLE})) == 1


async def test_what_became_of_a_start_is_told_even_if_its_caller_has_gone(store: SqliteStore) -> None:
    told: Future[Created] = asyncio.get_running_loop().create_future()
    unnamed = new(request=Request("", "c", id_chosen=False))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.create(*asked(unnamed, FIRST), lambda written: told.set_result(written.result()))

    async with asyncio.timeout(PATIENCE):
        kept = await told
    assert kept.created
    assert len(await store.events(kept.key, 1, 10)) == 2


async def test_the_same_definition_again_is_the_same(store: SqliteStore) -> None:
    first, is_new = await store.keep_definition(parsed(definition("1.0.0")), 100)

    again, is_new_again = await store.keep_definition(parsed(definition("1.0.0") + "\n# a comment"), 200)

    assert (is_new, is_new_again) == (True, False)
    assert (first.created_at, again.created_at) == (100, 100)


async def test_other_content_under_a_version_is_refused_with_the_version_to_take(store: SqliteStore) -> None:
    await store.keep_definition(parsed(definition("1.2.3")), 100)

    with pytest.raises(DefinitionConflict) as conflict:
        await store.keep_definition(parsed(definition("1.2.3", step="b")), 200)

    assert conflict.value.metadata["next_version"] == "1.3.0"
    kept = await store.definition("default", "w", "1.2.3")
    assert kept is not None
    assert kept.definition.steps[0].id == "a"


async def test_the_highest_version_is_the_newest_of_equals(store: SqliteStore) -> None:
    for at, text in enumerate([definition(step="x"), definition(step="b"), definition(step="m"), definition(step="c")]):
        await store.keep_definition(parsed(text), at)

    newest = await store.definition("default", "w", "")

    assert newest is not None
    assert newest.definition.steps[0].id == "c"


async def test_versions_are_ordered_as_versions_are(store: SqliteStore) -> None:
    for at, version in enumerate(["1.10.0", "1.9.0", "2.0.0-rc.1", "1.10.0-rc.2", "0.1.0"]):
        await store.keep_definition(parsed(definition(version)), at)

    versions = [kept.definition.version for kept in await store.definitions("default", "w")]

    assert versions == ["2.0.0-rc.1", "1.10.0", "1.10.0-rc.2", "1.9.0", "0.1.0"]
    assert await store.definition("default", "w", "3.0.0") is None
    assert await store.definition("elsewhere", "w", "") is None
    assert await store.definition_names("default") == ["w"]


async def test_an_owner_that_was_replaced_writes_nothing_more(database: Database) -> None:
    old = await store_over(database)
    key = (await created(old, new())).key
    young = await store_over(database)

    with pytest.raises(StoreUnavailable, match="has replaced epoch"):
        await old.append(key, old.shard, [e.Event(3, 12, e.StepUnblocked("a", 1))], None)
    with pytest.raises(StoreUnavailable):
        await created(old, new("e-2"))
    with pytest.raises(StoreUnavailable):
        await old.keep_definition(parsed(definition()), 1)
    with pytest.raises(StoreUnavailable):
        await old.mark_spans_sent(old.shard, 5)

    assert young.shard == Shard(old.shard.id, old.shard.epoch + 1)
    assert [event.sequence for event in await young.events(key, 1, 10)] == [1, 2]
    await young.append(key, young.shard, [e.Event(3, 12, e.StepUnblocked("a", 1))], None)
    assert len(await old.events(key, 1, 10)) == 3


async def test_writes_of_both_owners_in_one_commit_do_not_mix(database: Database) -> None:
    old = await store_over(database)
    young = await store_over(database)
    starts = [
        asyncio.ensure_future(created(owner, new(f"{name}-{number}")))
        for number in range(5)
        for name, owner in (("old", old), ("young", young))
    ]

    await asyncio.gather(*starts, return_exceptions=True)

    assert {row.execution_id for row in await young.open_executions({SOLE})} == {
        f"young-{number}" for number in range(5)
    }


async def test_an_event_without_the_one_before_it_is_not_kept(store: SqliteStore) -> None:
    key = (await created(store, new())).key

    for sequence in (2, 4, 5):
        with pytest.raises(WriteConflict):
            await store.append(key, store.shard, [e.Event(sequence, 12, e.StepUnblocked("a", 1))], None)

    assert [event.sequence for event in await store.events(key, 1, 10)] == [1, 2]


async def test_neighbours_of_a_bad_write_are_kept(store: SqliteStore) -> None:
    good = (await created(store, new("good"))).key
    bad = (await created(store, new("bad"))).key
    writes = [
        store.append(key, store.shard, [e.Event(at, 12, e.StepUnblocked("a", 1))], None)
        for key, at in ((good, 3), (bad, 9))
    ]
    writes.append(
        store.append(good, store.shard, [e.Event(4, 12, e.StepUnblocked("a", 1))], Standing(Status.FAILED, 12))
    )

    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [isinstance(result, WriteConflict) for result in results] == [False, True, False]
    row = await store.find("default", "good")
    assert row is not None
    assert (row.status, row.ended_at, row.sequence) == (Status.FAILED, 12, 4)


async def test_the_last_of_many_changes_in_one_commit_stands(database: Database, store: SqliteStore) -> None:
    keys = [(await created(store, new(f"e-{number}"))).key for number in range(50)]
    statuses = [Status.PAUSING, Status.PAUSED, Status.RUNNING, Status.CANCELLING, Status.CANCELLED]
    before = sum(database.commits.series[()].counts)

    await asyncio.gather(
        *(
            store.append(
                key, store.shard, [e.Event(3 + at, 12, e.StepUnblocked("a", 1))], Standing(status, 12 * (at == 4))
            )
            for at, status in enumerate(statuses)
            for key in keys
        )
    )

    rows = [await store.find("default", f"e-{number}") for number in range(50)]
    assert sum(database.commits.series[()].counts) == before + 1
    assert {(row.status, row.ended_at, row.sequence) for row in rows if row is not None} == {(Status.CANCELLED, 12, 7)}


@pytest.mark.parametrize(
    ("change", "place"),
    [("DELETE FROM event WHERE sequence = 2", 2), ("UPDATE event SET sequence = 9 WHERE sequence = 3", 3)],
)
async def test_a_history_with_a_gap_is_reported(
    database: Database, store: SqliteStore, change: str, place: int
) -> None:
    key = (await created(store, new())).key
    await store.append(key, store.shard, [e.Event(n, 12, e.StepUnblocked("a", 1)) for n in (3, 4)], None)
    await database.write(lambda connection: connection.execute(change))

    with pytest.raises(DataCorrupted) as corrupted:
        await store.events(key, 1, 10)

    assert corrupted.value.metadata["record"] == f"event {key}/{place}"


async def test_events_are_read_in_parts_that_fit_into_memory(store: SqliteStore) -> None:
    key = (await created(store, new())).key
    large = Payload(b"x" * (PAGE_BYTES // 3))
    await store.append(key, store.shard, [e.Event(n, 12, e.AttemptStarted("a", n, large)) for n in range(3, 9)], None)

    parts = []
    following = 1
    while part := await store.events(key, following, 1000):
        parts.append(len(part))
        following = part[-1].sequence + 1

    assert following == 9
    assert len(parts) == 2
    assert [event.sequence for event in await store.events(key, 2, 2)] == [2, 3]


async def test_a_damaged_record_is_reported_and_names_its_place(database: Database, store: SqliteStore) -> None:
    key = (await created(store, new())).key
    await database.write(lambda connection: connection.execute("UPDATE event SET body = x'00ff' WHERE sequence = 2"))

    with pytest.raises(DataCorrupted) as corrupted:
        await store.events(key, 1, 10)

    assert corrupted.value.metadata["record"] == f"event {key}/2"


async def test_the_cursor_of_the_spans_tells_what_has_to_be_sent_again(database: Database, store: SqliteStore) -> None:
    first, second = await created(store, new("e-1")), await created(store, new("e-2"))
    await store.append(first.key, store.shard, [e.Event(3, 12, e.StepUnblocked("a", 1))], None)

    assert await store.spans_sent(SOLE) == 0
    await store.mark_spans_sent(store.shard, second.position)

    assert await store.spans_sent(SOLE) == second.position
    assert [row.execution_id for row in await store.executions_after(SOLE, second.position)] == ["e-1"]
    assert await store.last_before(first.key, second.position) == 2
    assert await store.last_before(first.key, 0) == 0
    successor = await store_over(database)
    third = await created(successor, new("e-3"))
    assert third.position == second.position + 3
    assert third.key > second.key
