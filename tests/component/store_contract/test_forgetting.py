"""What is deleted is gone with all that only it needed; what has expired is named, the oldest first."""

from __future__ import annotations

from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Claim, IdReuse, Request
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.payload import Payload
from tests.component.store_contract.adapters import Owned
from tests.component.store_contract.histories import begin, ids, sequences, step

ENDED = Standing(Status.SUCCEEDED, 100)


async def test_a_deleted_execution_is_gone_with_its_history_its_request_and_its_answers(
    owned: Owned, store: Store
) -> None:
    created = await begin(owned, request_id="r", run_id="run")
    answer = Recorded(namespace="default", request_id="a", content="c", at=5, execution_key=created.key)
    await store.append_answered(created.key, owned.shard, [step(3)], None, answer)

    await store.delete_execution(created.key, owned.shard)

    assert await store.find("default", "e") is None
    assert await store.find_run("run") is None
    assert await sequences(store, created.key) == []
    for request_id in ("r", "a"):
        assert await store.started_by("default", Request(request_id, "other", False)) is None
    assert (await begin(owned, request_id="r", run_id="run")).created
    await store.delete_execution(created.key, owned.shard)
    assert await ids(store) == ["e"]


async def test_a_large_payload_stays_as_long_as_somebody_needs_it(owned: Owned, store: Store) -> None:
    shared, own = step(3, Payload(b"s" * 300_000)), step(4, Payload(b"o" * 300_000))
    first, second = (await begin(owned, "a")).key, (await begin(owned, "b")).key
    await store.append(first, owned.shard, [shared, own], None)
    await store.append(second, owned.shard, [shared], None)

    await store.delete_execution(first, owned.shard)

    assert await store.events(first, 1, 100) == []
    assert await store.events(second, 3, 1) == [shared]


async def test_what_a_fork_has_claimed_stays_claimed_when_it_is_deleted(owned: Owned, store: Store) -> None:
    origin = await begin(owned, "origin", run_id="o")
    fork = await begin(owned, "fork", run_id="f", claims=(Claim("o", "a"),))

    await store.delete_execution(fork.key, owned.shard)
    assert await store.claims("o") == {"a": "f"}
    await store.delete_execution(origin.key, owned.shard)
    assert await store.claims("o") == {}


async def test_what_has_expired_is_too_old_or_too_many(owned: Owned, store: Store) -> None:
    keys = []
    for number in range(6):
        ended = Standing(Status.SUCCEEDED, 100 + number) if number < 5 else Standing(Status.RUNNING)
        keys.append((await begin(owned, f"e-{number}", standing=ended)).key)

    assert await store.expired(102, 0, 100) == keys[:2]
    assert await store.expired(0, 3, 100) == keys[:2]
    assert await store.expired(102, 1, 3) == keys[:3]
    assert await store.expired(104, 4, 100) == keys[:4]
    assert await store.expired(0, 0, 100) == []


async def test_an_ended_child_does_not_expire_while_its_parent_is_open(owned: Owned, store: Store) -> None:
    parent = await begin(owned, "parent", run_id="p1")
    child = await begin(owned, "child", run_id="c1", parent_id="parent", parent_run="p1", standing=ENDED)

    assert await store.expired(200, 0, 100) == []
    await store.append(parent.key, owned.shard, [step(3)], ENDED)
    assert await store.expired(200, 0, 100) == [parent.key, child.key]


async def test_an_ended_child_is_not_kept_for_another_execution_that_got_its_parents_id(
    owned: Owned, store: Store
) -> None:
    parent = await begin(owned, "parent", run_id="p1", standing=ENDED)
    child = await begin(owned, "child", run_id="c1", parent_id="parent", parent_run="p1", standing=ENDED)
    await begin(owned, "parent", run_id="p2", request=Request("", "", True, IdReuse.ALLOW_DUPLICATE))

    assert await store.expired(200, 0, 100) == [parent.key, child.key]
