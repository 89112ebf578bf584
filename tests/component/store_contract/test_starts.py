"""What a start writes, and whom its ids belong to."""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import Any

import pytest

from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.workflow import ExecutionExists, RequestIdReused
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Claim, ClaimedBefore, Created, IdReuse, Request, Wanted
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import Status
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.store_contract.adapters import Owned
from tests.component.store_contract.histories import FIRST, begin, ids, new, nobody, sequences, step, write

AGAIN = Request("", "other", id_chosen=True, reuse=IdReuse.ALLOW_DUPLICATE)


async def test_an_execution_is_read_as_it_was_written(owned: Owned, store: Store) -> None:
    facts: dict[str, Any] = {
        "namespace": "there",
        "workflow": "report",
        "workflow_version": "2.1.0",
        "started_at": 1 << 60,
        "trace_id": "cd",
        "priority": -3,
        "concurrency_key": "\N{SNOWMAN}",
        "parent_id": "p",
        "schedule_id": "s",
        "run_id": "run",
        "parent_run": "parent's",
        "schedule_incarnation": "7",
        "standing": Standing(Status.FAILED, 1 << 61, 2),
    }
    created = await begin(owned, **facts)

    row = await store.find("there", "e")
    assert row is not None
    standing = facts.pop("standing")
    assert {name: getattr(row, name) for name in facts} == facts
    assert Standing(row.status, row.ended_at, row.incidents) == standing
    assert (row.key, row.sequence, row.shard) == (created.key, 2, owned.shard.id)
    assert tuple(await store.events(created.key, 1, 10)) == FIRST


async def test_the_same_request_gets_the_same_answer_and_starts_nothing(owned: Owned, store: Store) -> None:
    first = await begin(owned, "e-1", "r", run_id="run")

    again = await begin(owned, "e-2", "r", run_id="another")

    assert (first.execution_id, first.created, first.run_id) == ("e-1", True, "run")
    assert (again.execution_id, again.created, again.key, again.run_id) == ("e-1", False, first.key, "run")
    assert await store.find("default", "e-2") is None
    assert await store.started_by("default", Request("r", "c", False)) == again
    assert await store.started_by("default", Request("other", "c", False)) is None


async def test_a_request_id_means_one_content_in_one_namespace(owned: Owned, store: Store) -> None:
    await begin(owned, "e-1", "r")

    with pytest.raises(RequestIdReused) as reused:
        await begin(owned, "e-2", "r", content="other")
    with pytest.raises(RequestIdReused):
        await store.started_by("default", Request("r", "other", False))
    elsewhere = await begin(owned, "e-2", "r", content="other", namespace="elsewhere")

    assert reused.value.metadata == {"request_id": "r", "execution_id": "e-1"}
    assert elsewhere.created


async def test_requests_without_an_id_have_nothing_to_do_with_one_another(owned: Owned) -> None:
    assert (await begin(owned, "e-1")).created
    assert (await begin(owned, "e-2")).created


async def test_an_execution_id_exists_once_in_a_namespace(owned: Owned) -> None:
    await begin(owned)

    with pytest.raises(ExecutionExists):
        await begin(owned, request_id="r")
    assert (await begin(owned, namespace="elsewhere")).created


async def test_of_many_starts_at_once_one_creates_and_the_others_find_it(owned: Owned, store: Store) -> None:
    answers = await asyncio.gather(*(begin(owned, f"e-{number}", "r") for number in range(20)))

    assert sum(answer.created for answer in answers) == 1
    assert len({answer.execution_id for answer in answers}) == 1
    assert len(await store.open_executions({owned.shard.id})) == 1


async def test_of_many_starts_of_one_id_at_once_one_creates_and_the_others_are_refused(
    owned: Owned, store: Store
) -> None:
    answers = await asyncio.gather(*(begin(owned) for _ in range(20)), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Created", *["ExecutionExists"] * 19]
    assert await ids(store) == ["e"]


async def test_what_is_to_be_written_is_asked_for_only_if_something_is_to_be_written(
    owned: Owned, store: Store
) -> None:
    await begin(owned, "e-1", "r")
    asked: list[str] = []

    def never() -> tuple[object, object]:
        asked.append("asked")
        raise AssertionError

    answer = await store.create(Wanted("default", "e-2", Request("r", "c", True)), never, nobody)  # type: ignore[arg-type]

    assert not answer.created
    assert asked == []


async def test_whoever_refuses_to_begin_has_written_nothing(owned: Owned, store: Store) -> None:
    def refuse() -> tuple[object, object]:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        await store.create(Wanted("default", "e", Request("", "c", True)), refuse, nobody)  # type: ignore[arg-type]
    assert await store.find("default", "e") is None


async def test_what_became_of_a_start_is_told_even_if_its_caller_has_gone(owned: Owned, store: Store) -> None:
    told: Future[Created] = asyncio.get_running_loop().create_future()
    unnamed = new(owned.shard, request=Request("", "c", id_chosen=False))
    wanted = Wanted("default", "e", unnamed.request)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.create(wanted, lambda: (unnamed, FIRST), lambda written: told.set_result(written.result()))

    async with asyncio.timeout(PATIENCE):
        kept = await told
    assert kept.created
    assert await sequences(store, kept.key) == [1, 2]


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
    owned: Owned, store: Store, reuse: IdReuse, status: Status, reused: bool
) -> None:
    first = await begin(owned, standing=Standing(status, 20 if status.final else 0))
    again = new(owned.shard, request=Request("", "other", id_chosen=True, reuse=reuse))

    if not reused:
        with pytest.raises(ExecutionExists):
            await write(store, again)
        return
    second = await write(store, again)
    old, young = await store.find("default", "e~1"), await store.find("default", "e")

    assert old is not None
    assert young is not None
    assert (old.key, young.key) == (first.key, second.key)


async def test_of_many_that_use_an_id_again_at_once_one_gets_it(owned: Owned, store: Store) -> None:
    await begin(owned, standing=Standing(Status.FAILED, 20))

    answers = await asyncio.gather(*(begin(owned, request=AGAIN) for _ in range(5)), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Created", *["ExecutionExists"] * 4]
    assert sorted(await ids(store)) == ["e", "e~1"]


async def test_an_id_whose_execution_was_forgotten_meanwhile_is_free(owned: Owned, store: Store) -> None:
    first = await begin(owned, standing=Standing(Status.FAILED, 20))

    _, second = await asyncio.gather(store.delete_execution(first.key, owned.shard), begin(owned, request=AGAIN))

    assert second.created
    assert await ids(store) == ["e"]


async def test_a_run_is_found_by_its_name_whatever_its_id_is_now(owned: Owned, store: Store) -> None:
    ended = Standing(Status.FAILED, 20)
    first = await begin(owned, run_id="r-1", standing=ended)
    second = await begin(owned, run_id="r-2", standing=ended, request=AGAIN)
    third = await begin(owned, run_id="r-3", request=AGAIN)
    found = [await store.find("default", "e", run) for run in ("r-1", "r-2", "r-3", "r-4", "")]

    keys = [row.key if row is not None else None for row in found]
    assert keys == [first.key, second.key, third.key, None, third.key]
    assert await store.find("default", "another", "r-1") is None
    assert await store.find("elsewhere", "e", "r-1") is None
    by_run = await store.find_run("r-2")
    assert by_run is not None
    assert by_run.key == second.key
    assert await store.find_run("") is None


async def test_no_two_executions_have_one_run(owned: Owned, store: Store) -> None:
    await begin(owned, "one", run_id="r")

    with pytest.raises(WriteConflict):
        await begin(owned, "other", run_id="r")
    assert await store.find("default", "other") is None


async def test_an_effect_is_claimed_once_and_who_comes_second_has_written_nothing(owned: Owned, store: Store) -> None:
    await begin(owned, "origin", run_id="o")
    await begin(owned, "fork", run_id="f", claims=(Claim("o", "a"), Claim("o", "b")))

    with pytest.raises(ClaimedBefore):
        await begin(owned, "late", run_id="l", claims=(Claim("o", "c"), Claim("o", "b")))
    assert await store.claims("o") == {"a": "f", "b": "f"}
    assert await store.find("default", "late") is None
    assert await store.find_run("l") is None


async def test_an_answer_is_on_record_with_the_events_it_is_about(owned: Owned, store: Store) -> None:
    created = await begin(owned, run_id="run")
    answer = Recorded(namespace="default", request_id="r", content="c", at=5, execution_key=created.key)

    await store.append_answered(created.key, owned.shard, [step(3)], None, answer)

    assert await sequences(store, created.key) == [1, 2, 3]
    given = await store.started_by("default", Request("r", "c", False))
    assert given is not None
    assert (given.key, given.execution_id, given.created, given.run_id) == (created.key, "e", False, "run")
    with pytest.raises(RequestIdReused):
        await store.started_by("default", Request("r", "other", False))
    assert await store.started_by("elsewhere", Request("r", "c", False)) is None


async def test_an_answer_without_its_events_is_not_on_record(owned: Owned, store: Store) -> None:
    created = await begin(owned)
    answer = Recorded(namespace="default", request_id="r", content="c", at=5, execution_key=created.key)

    with pytest.raises(WriteConflict):
        await store.append_answered(created.key, owned.shard, [step(9)], None, answer)
    assert await store.started_by("default", Request("r", "c", False)) is None
