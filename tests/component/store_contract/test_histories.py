"""Histories: nothing is lost, doubled, out of order, or half written."""

from __future__ import annotations

import asyncio
from asyncio import Future

import pytest

from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.ports.histories import PAGE_BYTES
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.payload import Payload
from tests.component.store_contract.adapters import Adapter, Owned
from tests.component.store_contract.histories import begin, sequences, step


@pytest.mark.parametrize("sequence", [1, 2, 4, 5])
async def test_events_that_do_not_follow_the_last_one_are_not_kept(owned: Owned, store: Store, sequence: int) -> None:
    key = (await begin(owned)).key

    with pytest.raises(WriteConflict):
        await store.append(key, owned.shard, [step(sequence)], Standing(Status.FAILED, 12))

    row = await store.find("default", "e")
    assert row is not None
    assert (row.status, row.sequence) == (Status.RUNNING, 2)
    assert await sequences(store, key) == [1, 2]


async def test_of_a_write_with_a_gap_nothing_is_kept(owned: Owned, store: Store) -> None:
    key = (await begin(owned)).key

    with pytest.raises(WriteConflict):
        await store.append(key, owned.shard, [step(3), step(4), step(6)], None)

    assert await sequences(store, key) == [1, 2]
    await store.append(key, owned.shard, [step(3)], None)


async def test_an_execution_that_is_not_there_has_no_history(owned: Owned, store: Store) -> None:
    with pytest.raises(WriteConflict):
        await store.append(999, owned.shard, [step(3)], None)
    assert await store.events(999, 1, 10) == []


async def test_writes_that_are_queued_at_once_keep_their_order_and_their_place(owned: Owned, store: Store) -> None:
    first, second = (await begin(owned, "e-1")).key, (await begin(owned, "e-2")).key

    positions = await asyncio.gather(
        *(store.append(key, owned.shard, [step(n)], None) for n in range(3, 60) for key in (first, second))
    )

    assert positions == sorted(set(positions))
    assert await sequences(store, first) == await sequences(store, second) == list(range(1, 60))


async def test_neighbours_of_a_bad_write_are_kept(owned: Owned, store: Store) -> None:
    good, bad = (await begin(owned, "good")).key, (await begin(owned, "bad")).key

    def write(key: int, sequence: int, standing: Standing | None = None) -> Future[int]:
        return store.append(key, owned.shard, [step(sequence)], standing)

    writes = [write(good, 3), write(bad, 9), write(good, 4, Standing(Status.FAILED, 12))]
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [isinstance(result, WriteConflict) for result in results] == [False, True, False]
    row = await store.find("default", "good")
    assert row is not None
    assert (row.status, row.ended_at, row.sequence) == (Status.FAILED, 12, 4)


async def test_the_last_of_many_changes_at_once_stands(owned: Owned, store: Store) -> None:
    keys = [(await begin(owned, f"e-{number}")).key for number in range(50)]
    statuses = [Status.PAUSING, Status.PAUSED, Status.RUNNING, Status.CANCELLING, Status.CANCELLED]

    await asyncio.gather(
        *(
            store.append(key, owned.shard, [step(sequence)], Standing(status, 12 if status.final else 0))
            for sequence, status in enumerate(statuses, start=3)
            for key in keys
        )
    )

    rows = [await store.find("default", f"e-{number}") for number in range(50)]
    assert {(row.status, row.ended_at, row.sequence) for row in rows if row is not None} == {(Status.CANCELLED, 12, 7)}


async def test_where_an_execution_stands_changes_with_its_events_and_not_without(owned: Owned, store: Store) -> None:
    key = (await begin(owned)).key
    await store.append(key, owned.shard, [step(3)], None)
    await store.append(key, owned.shard, [], Standing(Status.PAUSED, 0, 3))

    row = await store.find("default", "e")
    assert row is not None
    assert (row.status, row.incidents, row.sequence) == (Status.PAUSED, 3, 3)


async def test_events_are_read_in_parts_that_fit_into_memory(owned: Owned, store: Store) -> None:
    key = (await begin(owned)).key
    large = Payload(b"x" * (PAGE_BYTES // 3))
    await store.append(key, owned.shard, [step(n, large) for n in range(3, 9)], None)
    small = (await begin(owned, "small")).key
    await store.append(small, owned.shard, [step(n) for n in range(3, 2000)], None)

    parts = []
    following = 1
    while part := await store.events(key, following, 1000):
        parts.append(len(part))
        following = part[-1].sequence + 1

    assert following == 9
    assert len(parts) == 2
    assert [event.sequence for event in await store.events(key, 2, 2)] == [2, 3]
    assert len(await store.events(small, 1, 1000)) == 1000


@pytest.mark.parametrize("size", [0, 300_000, PAGE_BYTES + 1])
async def test_a_payload_of_any_size_is_read_as_it_was_written(owned: Owned, store: Store, size: int) -> None:
    key = (await begin(owned)).key
    event = step(3, Payload(b"x" * size, "text/plain", {"\N{SNOWMAN}": "\x00"}))
    await store.append(key, owned.shard, [event], None)

    assert await store.events(key, 3, 1) == [event]


async def test_a_damaged_event_is_refused_and_named_and_what_is_before_it_is_read(
    adapter: Adapter, owned: Owned, store: Store
) -> None:
    created = await begin(owned)
    await store.append(created.key, owned.shard, [step(3)], None)
    await adapter.change("event", "body", created.position + 1)

    with pytest.raises(DataCorrupted) as corrupted:
        await store.events(created.key, 1, 10)

    assert corrupted.value.metadata["record"] == f"event {created.key}/3"
    assert [event.sequence for event in await store.events(created.key, 1, 2)] == [1, 2]


async def test_a_history_with_a_gap_is_refused_and_the_gap_is_named(
    adapter: Adapter, owned: Owned, store: Store
) -> None:
    key = (await begin(owned)).key
    await store.append(key, owned.shard, [step(3), step(4)], None)
    await adapter.lose(key, 3)

    with pytest.raises(DataCorrupted) as corrupted:
        await store.events(key, 1, 10)

    assert corrupted.value.metadata["record"] == f"event {key}/3"
