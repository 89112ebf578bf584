"""Places under concurrency keys beside whatever ends executions: an end is an end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.orchestrator.api.replay import Tape
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fold import AfterEnd
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow, Standing
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.stores import HeldStore, failing_store

WAITING = """
name: waiting
concurrency: {key: "${input.k}", limit: LIMIT, on_conflict: RULE}
steps: [{id: w, wait: {for: 1h}}]
"""


async def waiting(orchestrator: Orchestrator, *ids: str, rule: str = "queue", limit: int = 1, **facts: object) -> None:
    source = WAITING.replace("RULE", rule).replace("LIMIT", str(limit))
    for execution_id in ids:
        await orchestrator.start(source, {"k": "k"}, execution_id=execution_id, **facts)


async def ends(orchestrator: Orchestrator, *ids: str) -> dict[str, Status]:
    """How executions have ended; nothing stands behind an end."""
    found: dict[str, Status] = {}
    for execution_id in ids:
        found[execution_id] = (await orchestrator.ended(execution_id)).status
        assert (await orchestrator.executions.row("default", execution_id)).status is found[execution_id]
        last = (await orchestrator.history(execution_id))[-1].fact
        assert isinstance(last, e.ExecutionSucceeded | e.ExecutionFailed)
    return found


async def rows_in_order(orchestrator: Orchestrator) -> list[ExecutionRow]:
    """The oldest first."""
    found = await orchestrator.executions.page(
        ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 100
    )
    return found.rows


async def cancel(orchestrator: Orchestrator, execution_id: str) -> None:
    await orchestrator.offered.controls.cancel("default", execution_id, "me", "")


async def terminate(orchestrator: Orchestrator, execution_id: str) -> None:
    await orchestrator.offered.controls.terminate("default", execution_id, "me", "")


@pytest.mark.parametrize(("end", "status"), [(cancel, Status.CANCELLED), (terminate, Status.TERMINATED)])
@pytest.mark.parametrize("order", ["ab", "ba", "abc", "cab", "bca"])
async def test_who_ends_together_with_those_that_wait_for_its_place_stays_ended(
    orchestrator: Orchestrator,
    end: Callable[[Orchestrator, str], Awaitable[None]],
    status: Status,
    order: str,
) -> None:
    await waiting(orchestrator, *sorted(order))

    await asyncio.gather(*(end(orchestrator, execution_id) for execution_id in order))

    assert await ends(orchestrator, *order) == dict.fromkeys(order, status)
    await waiting(orchestrator, "next")
    assert (await orchestrator.until(lambda state: state.status is Status.RUNNING, "next")).queued is False


async def test_a_timeout_that_all_share_ends_each_of_them_once(orchestrator: Orchestrator) -> None:
    source = WAITING.replace("RULE", "queue").replace("LIMIT", "1") + "timeout: 50ms\n"
    await orchestrator.definitions.register("default", source)

    await asyncio.gather(*(orchestrator.start(source, {"k": "k"}, execution_id=name) for name in "abcd"))

    assert await ends(orchestrator, *"abcd") == dict.fromkeys("abcd", Status.TIMED_OUT)


async def test_of_many_started_at_once_the_newest_is_the_one_that_runs(orchestrator: Orchestrator) -> None:
    source = WAITING.replace("RULE", "cancel_in_progress").replace("LIMIT", "1")
    await orchestrator.definitions.register("default", source)

    await asyncio.gather(*(orchestrator.start(source, {"k": "k"}, execution_id=name) for name in "abc"))

    *older, newest = [row.execution_id for row in await rows_in_order(orchestrator)]
    assert set((await ends(orchestrator, *older)).values()) == {Status.CANCELLED}
    assert not (await orchestrator.until(lambda state: state.status is Status.RUNNING, newest)).queued


async def test_only_as_many_give_way_as_stand_in_the_way(orchestrator: Orchestrator) -> None:
    await waiting(orchestrator, "a", "b", "c", rule="cancel_in_progress", limit=2)

    assert await ends(orchestrator, "a") == {"a": Status.CANCELLED}
    for execution_id in ("b", "c"):
        await orchestrator.until(lambda state: state.status is Status.RUNNING, execution_id)


async def test_who_comes_while_the_place_becomes_free_does_not_wait_for_nobody(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = HeldStore(await store_over(database))
    store.release()
    orchestrator = orchestrator_over(store, hosts)
    await waiting(orchestrator, "a")
    store.hold()
    ending = asyncio.create_task(cancel(orchestrator, "a"))
    await store.written.wait()
    coming = asyncio.create_task(waiting(orchestrator, "b"))
    while len(store._held) < 2:
        await asyncio.sleep(0)

    store.release()
    await asyncio.gather(ending, coming)

    await orchestrator.until(lambda state: state.status is Status.RUNNING, "b")


async def test_an_end_that_could_not_be_written_leaves_its_place_in_the_queue(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    await waiting(orchestrator, "a", "b")
    store.failures = 1

    with pytest.raises(Exception, match="disk full"):
        await cancel(orchestrator, "b")
    await cancel(orchestrator, "a")
    await orchestrator.recovery.run()

    await orchestrator.until(lambda state: state.status is Status.RUNNING, "b")


async def test_who_was_to_give_way_does_so_after_a_crash_too(database: Database, hosts: ScriptedHosts) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await waiting(first, "a", rule="cancel_in_progress")
    first.offered.concurrency_slots.give_way = lambda *_: None  # type: ignore[method-assign] # it dies before it could
    await waiting(first, "b", rule="cancel_in_progress")

    second = orchestrator_over(await store_over(database), hosts)
    second.offered.concurrency_slots.load(await second.store.slots({SOLE}))
    await second.recovery.run()

    assert await ends(second, "a") == {"a": Status.CANCELLED}
    await second.until(lambda state: state.status is Status.RUNNING, "b")


async def test_no_fact_is_taken_for_an_execution_that_has_ended_in_memory(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = HeldStore(await store_over(database))
    store.release()
    orchestrator = orchestrator_over(store, hosts)
    await waiting(orchestrator, "a")
    store.hold()
    ending = asyncio.create_task(cancel(orchestrator, "a"))
    await store.written.wait()
    running = orchestrator.offered.owners.local("default", "a")
    assert running is not None

    with pytest.raises(AfterEnd):
        orchestrator.engine.turn(running, (e.ExecutionAdmitted(),))

    store.release()
    await ending
    assert await ends(orchestrator, "a") == {"a": Status.CANCELLED}


async def opened_again(orchestrator: Orchestrator, execution_id: str, *facts: e.Fact) -> None:
    """What earlier versions could write behind an end."""
    row = await orchestrator.executions.row("default", execution_id)
    now = time.time_ns()
    events = [e.Event(number, now, fact) for number, fact in enumerate(facts, start=row.sequence + 1)]
    await orchestrator.store.append(row.key, orchestrator.store.shard, events, Standing(Status.RUNNING))


AFTER_END = [
    (e.ExecutionAdmitted(),),
    (e.ExecutionAdmitted(), e.CancelRequested("me", ""), e.ExecutionRecovered("o", 2), e.PauseRequested()),
]


@pytest.mark.parametrize("facts", AFTER_END)
async def test_what_an_older_release_opened_again_is_healed_once_and_blocks_nobody(
    database: Database, hosts: ScriptedHosts, facts: tuple[e.Fact, ...], caplog: pytest.LogCaptureFixture
) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await waiting(first, "a", "b", "c")
    await cancel(first, "b")
    await cancel(first, "a")
    ended_at = (await first.ended("b")).ended_at
    await opened_again(first, "b", *facts)

    caplog.set_level(logging.WARNING)
    second = orchestrator_over(await store_over(database), hosts)
    second.offered.concurrency_slots.load(await second.store.slots({SOLE}))
    await second.recovery.run()
    await second.recovery.run()

    row = await second.executions.row("default", "b")
    assert (row.status, row.ended_at) == (Status.CANCELLED, ended_at)
    assert [record.message for record in caplog.records if "b" in record.message.split()] == [
        "execution b had ended as CANCELLED and was opened again: its end holds"
    ]
    await second.until(lambda state: state.status is Status.RUNNING, "c")
    assert second.offered.concurrency_slots.leaked() == 0


@pytest.mark.parametrize("facts", AFTER_END)
async def test_what_was_opened_again_can_be_looked_at_in_every_way(
    orchestrator: Orchestrator, facts: tuple[e.Fact, ...]
) -> None:
    await waiting(orchestrator, "a")
    await cancel(orchestrator, "a")
    before = await orchestrator.history("a")
    await opened_again(orchestrator, "a", *facts)

    state = await orchestrator.executions.get("default", "a")
    watched = [event async for found in orchestrator.executions.watch("default", "a", 1) for event in found]
    _, checkpoints = await orchestrator.executions.checkpoints("default", "a", 0, 100)
    packed = b"".join([piece async for piece in orchestrator.offered.archives.export("default", "a")])
    elsewhere = await orchestrator.offered.archives.take_over("elsewhere", "", packed)

    assert (state.status, state.sequence) == (Status.CANCELLED, len(before) + len(facts))
    assert watched == before
    assert all(found.sequence <= len(before) for found in checkpoints)
    assert (elsewhere.status, elsewhere.ended_at) == (Status.CANCELLED, state.ended_at)
    assert len(ArchivePacking().unpack(packed).events) == len(before) + len(facts)
    tape = Tape(packed)
    moments = list(tape.moments(1000))
    tape.check(1000)
    assert {moment.status for moment in moments[len(before) - 1 :]} == {"CANCELLED"}
    assert "changes nothing" in moments[-1].what
    await orchestrator.recovery.run()
    assert (await orchestrator.executions.row("default", "a")).status is Status.CANCELLED


async def test_what_is_started_paused_behind_a_key_takes_its_place_and_stays_paused(
    orchestrator: Orchestrator,
) -> None:
    await waiting(orchestrator, "a")
    await waiting(orchestrator, "b", paused=True)
    await waiting(orchestrator, "c")
    assert (await orchestrator.executions.get("default", "b")).status is Status.PAUSED

    await terminate(orchestrator, "a")
    paused = await orchestrator.until(lambda state: not state.queued, "b")

    assert (paused.status, paused.steps) == (Status.PAUSED, {})
    assert (await orchestrator.executions.get("default", "c")).status is Status.QUEUED
    await orchestrator.offered.controls.resume("default", "b", "", "me")
    await orchestrator.until(lambda state: "w" in state.steps, "b")


@pytest.mark.parametrize("ends_first", [True, False])
async def test_a_pause_in_the_queue_is_no_place_after_a_crash(
    database: Database, hosts: ScriptedHosts, ends_first: bool
) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await waiting(first, "a", "b")
    await first.offered.controls.pause("default", "b", e.PauseRequested("me"))
    if ends_first:
        await terminate(first, "a")
        await first.until(lambda state: not state.queued, "b")

    second = orchestrator_over(await store_over(database), hosts)
    second.offered.concurrency_slots.load(await second.store.slots({SOLE}))
    await second.recovery.run()
    await waiting(second, "c")

    assert (await second.executions.get("default", "b")).status is Status.PAUSED
    assert (await second.executions.get("default", "c")).status is Status.QUEUED
    for execution_id in ("b", "c") if ends_first else ("a", "b", "c"):
        await second.until(lambda state: not state.queued, execution_id)
        await terminate(second, execution_id)
    assert second.offered.concurrency_slots.leaked() == 0


async def test_a_timeout_runs_in_the_queue_and_stands_still_in_a_pause_that_holds_it(
    orchestrator: Orchestrator,
) -> None:
    source = WAITING.replace("RULE", "queue").replace("LIMIT", "1") + "timeout: 500ms\n"
    await waiting(orchestrator, "a")
    for execution_id in ("b", "c"):
        await orchestrator.start(source, {"k": "k"}, execution_id=execution_id, paused=execution_id == "c")
    paused = await orchestrator.offered.controls.pause("default", "c", e.PauseRequested("me", hold_clock=True))
    held = (paused.status, paused.deadline)  # it goes on

    assert await ends(orchestrator, "b") == {"b": Status.TIMED_OUT}
    assert (await orchestrator.executions.get("default", "c")).status is held[0] is Status.PAUSED
    resumed = await orchestrator.offered.controls.resume("default", "c", "", "me")
    assert resumed.deadline > held[1]
    assert await ends(orchestrator, "c") == {"c": Status.TIMED_OUT}


@pytest.mark.parametrize("imported", [False, True])
async def test_a_place_of_what_is_being_written_is_not_said_to_leak(orchestrator: Orchestrator, imported: bool) -> None:
    await waiting(orchestrator, "a")
    archives, places = orchestrator.offered.archives, orchestrator.offered.concurrency_slots
    data = b"".join([piece async for piece in archives.export("default", "a")])
    await terminate(orchestrator, "a")
    coming = asyncio.create_task(archives.take_over("default", "b", data) if imported else waiting(orchestrator, "b"))
    async with asyncio.timeout(PATIENCE):
        while not orchestrator.offered.open_executions.is_coming("default", "b"):
            await asyncio.sleep(0)

    assert orchestrator.offered.owners.local("default", "b") is None
    assert places.leaked() == 0
    await coming
    assert [row.execution_id for row in await orchestrator.store.slots({SOLE})] == ["b"]
