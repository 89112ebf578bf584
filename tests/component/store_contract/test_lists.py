"""Lists: filtered, ordered, by page, without what is damaged."""

from __future__ import annotations

import pytest

from forgemesh.faults.service import DataCorrupted, InvalidRequest
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.state import Status
from tests.component.store_contract.adapters import Adapter, Owned
from tests.component.store_contract.histories import NEWEST, begin, ids


async def five_executions(owned: Owned) -> None:
    for number in range(5):
        standing = Standing(Status.SUCCEEDED, 99 - number) if number % 2 else Standing(Status.RUNNING)
        await begin(owned, f"e-{number}", workflow=f"w{number % 2}", standing=standing)
    await begin(owned, "other", namespace="elsewhere")


async def test_lists_are_paged_from_the_newest(owned: Owned, store: Store) -> None:
    await five_executions(owned)

    assert await ids(store) == ["e-4", "e-3", "e-2", "e-1", "e-0"]
    assert await ids(store, workflows=("w1",)) == ["e-3", "e-1"]
    assert await ids(store, statuses=(Status.RUNNING,)) == ["e-4", "e-2", "e-0"]


async def test_lists_are_ordered_as_asked_for_with_what_is_open_as_the_last_to_end(owned: Owned, store: Store) -> None:
    await five_executions(owned)

    assert await ids(store, ExecutionOrder.STARTED_ASCENDING) == ["e-0", "e-1", "e-2", "e-3", "e-4"]
    assert await ids(store, ExecutionOrder.ENDED_ASCENDING) == ["e-3", "e-1", "e-0", "e-2", "e-4"]
    assert await ids(store, ExecutionOrder.ENDED_DESCENDING) == ["e-4", "e-2", "e-0", "e-1", "e-3"]


async def test_a_page_goes_on_where_the_one_before_ended_whatever_has_come_since(owned: Owned, store: Store) -> None:
    await five_executions(owned)
    first = await store.executions(ExecutionFilter(namespace="default"), NEWEST, "", 2)
    await begin(owned, "e-5")

    second = await store.executions(ExecutionFilter(namespace="default"), NEWEST, first.next_token, 2)

    assert [row.execution_id for row in second.rows] == ["e-2", "e-1"]


@pytest.mark.parametrize("end", ["\U0010ffff", "\U0010ffff\U0010ffff", "\ud7ff", "\x7f", "~"])
async def test_a_beginning_may_end_in_any_character(owned: Owned, store: Store, end: str) -> None:
    names = [end, f"{end}z", f"y{end}", f"y{end}\U0010ffff", "y", "z"]
    for number, name in enumerate(names):
        await begin(owned, name, started_at=number)

    assert sorted(await ids(store, id_prefix=end)) == sorted(one for one in names if one.startswith(end))
    assert sorted(await ids(store, id_prefix=f"y{end}")) == sorted([f"y{end}", f"y{end}\U0010ffff"])


async def test_lists_hold_only_what_the_whole_filter_fits(owned: Owned, store: Store) -> None:
    await five_executions(owned)
    await begin(owned, "x_1", parent_id="e-1", schedule_id="s", concurrency_key="k", started_at=50)
    await begin(owned, "x%1", standing=Standing(Status.RUNNING, 0, 2), started_at=60)

    assert await ids(store, id_prefix="x_") == ["x_1"]
    assert await ids(store, id_prefix="x") == ["x%1", "x_1"]
    assert await ids(store, parent_id="e-1", schedule_id="s", concurrency_key="k") == ["x_1"]
    assert await ids(store, parent_id="e-2", schedule_id="s") == []
    assert await ids(store, started_from=50, started_before=60) == ["x_1"]
    assert await ids(store, incidents_only=True) == ["x%1"]
    assert await ids(store, open_only=True, workflows=("w0", "w1")) == ["e-4", "e-2", "e-0"]


async def test_a_page_token_of_another_question_is_refused(owned: Owned, store: Store) -> None:
    await five_executions(owned)
    first = await store.executions(ExecutionFilter(namespace="default"), NEWEST, "", 2)

    for token, order in ((first.next_token, ExecutionOrder.ENDED_ASCENDING), ("nonsense", NEWEST)):
        with pytest.raises(InvalidRequest, match="page_token"):
            await store.executions(ExecutionFilter(namespace="default"), order, token, 2)


@pytest.mark.parametrize("column", ["status", "workflow", "trace_id", "ended_at", "run_id", "shard", "priority"])
async def test_a_row_that_cannot_be_read_is_named_and_the_others_are_served(
    adapter: Adapter, owned: Owned, store: Store, column: str
) -> None:
    for number, name in enumerate(("a", "b", "c")):
        await begin(owned, name, run_id=f"run-{number}")
    await adapter.change("execution", column, "b")

    assert await ids(store) == ["c", "a"]
    assert [row.execution_id for row in await store.open_executions({owned.shard.id})] == ["a", "c"]
    assert [said.partition(":")[0] for said in store.damaged] == ["execution 2 is damaged"]
    with pytest.raises(DataCorrupted, match="execution 2"):
        await store.find("default", "b")
