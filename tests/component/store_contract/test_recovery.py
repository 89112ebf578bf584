"""What a process finds to take up."""

from __future__ import annotations

import pytest

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.state import Status
from tests.component.store_contract.adapters import Adapter, Owned
from tests.component.store_contract.histories import FIRST, STARTED, begin, new, step, write

ENDED = Standing(Status.SUCCEEDED, 20)


async def test_all_that_is_open_is_found_in_the_order_of_its_start_in_every_namespace(
    owned: Owned, store: Store
) -> None:
    for number, status in enumerate(status for status in Status if not status.final):
        await begin(owned, f"e-{number}", namespace=f"n-{number % 2}", standing=Standing(status))
    await begin(owned, "ended", standing=ENDED)
    late = await begin(owned, "late")
    await store.append(late.key, owned.shard, [step(3)], ENDED)

    found = await store.open_executions({owned.shard.id})

    assert [row.execution_id for row in found] == [f"e-{number}" for number in range(len(found))]
    assert {row.status for row in found} == {status for status in Status if not status.final}


async def test_what_is_in_another_shard_is_not_found(owned: Owned, store: Store) -> None:
    await begin(owned, concurrency_key="k")
    another = owned.shard.id + 1

    assert await store.open_executions({another}) == []
    assert await store.slots({another}) == []
    assert await store.executions_after(another, 0) == []
    assert await store.open_executions(set()) == []
    assert len(await store.open_executions({another, owned.shard.id})) == 1


@pytest.mark.parametrize(
    ("status", "facts", "granted"),
    [
        (Status.RUNNING, [], True),
        (Status.QUEUED, [], False),
        (Status.CANCELLING, [], True),
        (Status.PAUSED, [e.PauseRequested(), e.ExecutionPaused()], True),
        (Status.PAUSED, [e.ExecutionQueued(), e.PauseRequested(), e.ExecutionPaused()], False),
        (Status.PAUSED, [e.ExecutionQueued(), e.ExecutionAdmitted(), e.ExecutionPaused()], True),
    ],
)
async def test_slots_say_who_has_its_place_and_who_waits(
    owned: Owned, store: Store, status: Status, facts: list[e.Fact], granted: bool
) -> None:
    await begin(owned, "without a key")
    key = (await begin(owned, concurrency_key="k")).key
    await begin(owned, "ended", concurrency_key="k", standing=ENDED)
    events = [e.Event(3 + number, 12, fact) for number, fact in enumerate(facts)]
    await store.append(key, owned.shard, events, Standing(status))

    (slot,) = await store.slots({owned.shard.id})

    assert (slot.namespace, slot.workflow, slot.concurrency_key, slot.execution_id) == ("default", "w", "k", "e")
    assert slot.granted is granted


async def test_one_that_was_queued_at_its_start_and_paused_then_has_no_place(owned: Owned, store: Store) -> None:
    queued = e.Event(1, 10, e.ExecutionStarted(**{name: getattr(STARTED, name) for name in NAMED}, queued=True))
    await write(store, new(owned.shard, concurrency_key="k", standing=Standing(Status.PAUSED)), [queued, *FIRST[1:]])

    assert [slot.granted for slot in await store.slots({owned.shard.id})] == [False]


NAMED = ("workflow", "workflow_version", "content_hash", "input", "trace_id")


async def test_the_mark_of_spans_tells_what_has_to_be_sent_again(adapter: Adapter, owned: Owned, store: Store) -> None:
    shard = owned.shard
    first, second = await begin(owned, "e-1"), await begin(owned, "e-2")
    await store.append(first.key, shard, [step(3)], None)

    assert await store.spans_sent(shard.id) == 0
    assert [row.execution_id for row in await store.executions_after(shard.id, 0)] == ["e-1", "e-2"]
    await store.mark_spans_sent(shard, second.position)

    assert await store.spans_sent(shard.id) == second.position
    assert [row.execution_id for row in await store.executions_after(shard.id, second.position)] == ["e-1"]
    assert await store.last_before(first.key, second.position) == 2
    assert await store.last_before(first.key, 0) == 0
    assert await (await adapter.own()).store.spans_sent(shard.id) == second.position


async def test_no_key_and_no_position_is_given_twice_whatever_is_forgotten(adapter: Adapter, owned: Owned) -> None:
    await begin(owned, "e-1")
    newest = await begin(owned, "e-2")
    await owned.store.delete_execution(newest.key, owned.shard)
    young = await adapter.own()

    following = await begin(young, "e-3")

    assert following.key > newest.key
    assert following.position == newest.position + 2
