"""A replaced owner writes nothing more, and each of its writes is refused as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import IdReuse, Request
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.payload import Payload
from tests.component.store_contract.adapters import Adapter, Owned
from tests.component.store_contract.histories import begin, ids, listed, new, sequences, step, write
from tests.unit.orchestrator.schedules import schedule
from tests.unit.orchestrator.workflows import call, of_steps

AGAIN = Request("", "other", id_chosen=True, reuse=IdReuse.ALLOW_DUPLICATE)
ANSWER = Recorded(namespace="default", request_id="r", content="c", at=5, execution_key=1)
KEPT = KeptResult("p", "1.0.0", "ab", Payload(b"7"))
ENDED = Standing(Status.FAILED, 12)

Write = Callable[[Owned, int], Awaitable[object]]

WRITES: dict[str, Write] = {
    "a start": lambda owned, key: begin(owned, "late"),
    "a start with an id that is used again": lambda owned, key: begin(owned, "ended", request=AGAIN),
    "events": lambda owned, key: owned.store.append(key, owned.shard, [step(3), step(4)], ENDED),
    "where it stands": lambda owned, key: owned.store.append(key, owned.shard, [], ENDED),
    "an answer": lambda owned, key: owned.store.append_answered(key, owned.shard, [step(3)], ENDED, ANSWER),
    "a deletion": lambda owned, key: owned.store.delete_execution(key, owned.shard),
    "the mark of spans": lambda owned, key: owned.store.mark_spans_sent(owned.shard, 2),
    "a definition": lambda owned, key: owned.store.keep_definition(of_steps(call("x")), 1),
    "a kept result": lambda owned, key: owned.store.keep_result(b"k", KEPT, 90),
    "the end of kept results": lambda owned, key: owned.store.drop_expired_results(1 << 62),
    "the end of answers": lambda owned, key: owned.store.forget_answers(1 << 62),
    "a schedule": lambda owned, key: owned.schedules.create(replace(schedule(), id="late")),
    "a decision of a schedule": lambda owned, key: owned.schedules.save(replace(schedule(), key=1, revision=9), ()),
    "the end of a schedule": lambda owned, key: owned.schedules.delete(1),
}


async def everything(owned: Owned) -> list[object]:
    """What the writes above would change."""
    store = owned.store
    rows = await listed(store)
    return [
        rows,
        [await sequences(store, row.key) for row in rows],
        await store.started_by("default", Request("r", "c", False)),
        await store.spans_sent(owned.shard.id),
        await store.definition_names("default"),
        await store.cached(b"k", 0),
        await store.cached(b"old", 0),
        await owned.schedules.load(),
    ]


@pytest.mark.parametrize("what", list(WRITES))
async def test_an_owner_that_was_replaced_writes_nothing_more(adapter: Adapter, what: str) -> None:
    old = await adapter.own()
    key = (await begin(old)).key
    await begin(old, "ended", standing=ENDED)
    await old.store.keep_result(b"old", KEPT, 90)
    await old.schedules.create(schedule())
    young = await adapter.own()
    before = await everything(young)

    with pytest.raises(StoreUnavailable, match="replaced"):
        await WRITES[what](old, key)
    assert await everything(young) == before
    await WRITES[what](young, key)
    assert what == "the end of answers" or await everything(young) != before


async def test_each_owner_has_a_higher_epoch_of_the_same_shard(adapter: Adapter) -> None:
    shards = [(await adapter.own()).shard for _ in range(3)]

    assert len({shard.id for shard in shards}) == 1
    assert [shard.epoch - shards[0].epoch for shard in shards] == [0, 1, 2]


async def test_a_younger_owner_finds_all_that_was_acknowledged_and_goes_on_behind_it(adapter: Adapter) -> None:
    old = await adapter.own()
    created = await begin(old)
    position = await old.store.append(created.key, old.shard, [step(3)], None)
    young = await adapter.own()

    assert await sequences(young.store, created.key) == [1, 2, 3]
    assert await young.store.append(created.key, young.shard, [step(4)], None) == position + 1
    assert (await begin(young, "another")).key > created.key


async def test_writes_of_both_owners_at_once_do_not_mix(adapter: Adapter) -> None:
    old, young = await adapter.own(), await adapter.own()
    starts = [begin(owner, f"{name}-{n}") for n in range(5) for name, owner in (("old", old), ("young", young))]

    results = await asyncio.gather(*starts, return_exceptions=True)

    assert [isinstance(result, StoreUnavailable) for result in results] == [True, False] * 5
    assert sorted(await ids(young.store)) == [f"young-{number}" for number in range(5)]


async def test_the_epoch_counts_that_a_write_names_and_not_who_writes(adapter: Adapter) -> None:
    """As when a process has lost a shard, and got it back: what it had begun before is void."""
    owned = await adapter.own()
    key = (await begin(owned)).key

    for stale in (owned.shard._replace(epoch=owned.shard.epoch - 1), owned.shard._replace(id=owned.shard.id + 1)):
        with pytest.raises(StoreUnavailable, match="replaced"):
            await owned.store.append(key, stale, [step(3)], None)
        with pytest.raises(StoreUnavailable, match="replaced"):
            await write(owned.store, new(stale, "another"))
    await owned.store.append(key, owned.shard, [step(3)], None)
    assert await ids(owned.store) == ["e"]
