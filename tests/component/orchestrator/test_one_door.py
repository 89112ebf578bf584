"""Every kind of thing that can be open in a history goes on, whether it is found after a crash or imported."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, database_at, orchestrator_over, store_over
from tests.component.orchestrator.test_family_fences import calls_stop_when_told, dies

CALL = "call: {plugin: p, operation: o}"
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")
AWAY = Failure(Code.UNAVAILABLE, "AWAY", "comes back", retryable=True)

Mesh: TypeAlias = Orchestrator
Door: TypeAlias = Callable[[Mesh], Awaitable[Mesh]]


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[Database]:
    async with database_at(tmp_path / "elsewhere.db") as database:
        yield database


@pytest.fixture(params=["recovery", "import"])
def door(request: pytest.FixtureRequest, database: Database, elsewhere: Database) -> Door:
    """By which way what `first` has begun comes to another process, where people let it go on."""

    async def recovery(first: Mesh) -> Mesh:
        await dies(first, database)
        second = orchestrator_over(await store_over(database), served())
        second.offered.concurrency_slots.load(await second.store.slots({SOLE}))
        await second.recovery.run()
        return second

    async def imported(first: Mesh) -> Mesh:
        second = orchestrator_over(await store_over(elsewhere), served())
        rows = await first.store.open_executions({SOLE})
        for row in sorted(rows, key=lambda row: -row.key if row.parent_id else row.key):
            pieces = [piece async for piece in first.offered.archives.export("default", row.execution_id)]
            await second.offered.archives.take_over("default", "", b"".join(pieces))
        for row in rows:
            state = await second.executions.get("default", row.execution_id)
            assert state.pause is not None or state.stopping is not None or state.compensating
            was_paused = row.status is Status.PAUSED
            if state.pause is not None and not was_paused:
                await second.offered.controls.resume("default", row.execution_id, "", "me")
        return second

    return recovery if request.param == "recovery" else imported


def served() -> ScriptedHosts:
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"), endpoint("i-2"))
    return hosts


async def test_an_open_attempt_is_lost_and_tried_again(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}}}]")
    await orchestrator.hosts.call("x")
    second = await door(orchestrator)

    await second.hosts.answer("x", attempt=2)
    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_step_that_nobody_served_is_served(orchestrator: Mesh, door: Door) -> None:
    orchestrator.hosts.show("p")
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}}}]")
    await orchestrator.until(lambda state: state.steps["x"].blocked is not None)
    second = await door(orchestrator)

    await second.hosts.until(lambda: bool(second.hosts.calls))
    second.hosts.calls[0].succeed()
    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_pause_between_attempts_comes_to_its_end(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}, retry: {{initial: 200ms}}}}]")
    (await orchestrator.hosts.call("x")).fail(AWAY)
    await orchestrator.until(lambda state: bool(state.waiting))
    second = await door(orchestrator)

    await second.hosts.answer("x", attempt=2)
    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_wait_for_a_moment_ends(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start("name: w\nsteps: [{id: x, wait: {for: 300ms}}]")
    second = await door(orchestrator)

    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_wait_for_a_signal_gets_it(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start("name: w\nsteps: [{id: x, wait: {signal: go}}]")
    second = await door(orchestrator)

    await second.offered.controls.signal("default", "e", e.SignalReceived("go", Payload(b"1")))
    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_signal_that_was_kept_is_there(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}}}, {{id: y, wait: {{signal: go}}}}]")
    await orchestrator.offered.controls.signal("default", "e", e.SignalReceived("go", Payload(b"1")))
    second = await door(orchestrator)

    await second.hosts.answer("x", attempt=2)
    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_step_that_waits_for_a_person_still_does(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}, on_exhausted: incident}}]")
    (await orchestrator.hosts.call("x")).fail(BROKEN)
    await orchestrator.until(lambda state: bool(state.incidents))
    second = await door(orchestrator)

    await second.offered.controls.resolve("default", "e", "x", "complete", None, "me", "")
    assert (await second.ended()).status is Status.SUCCEEDED


PARENT = "name: parent\nsteps: [{id: c, workflow: {name: child}}]\noutput: '${steps.c.output}'"
CHILD = f"name: child\nsteps: [{{id: x, {CALL}}}]\noutput: '${{steps.x.output}}'"


async def test_an_open_child_answers_its_parent(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.definitions.register("default", CHILD)
    await orchestrator.start(PARENT)
    await orchestrator.hosts.call("x")
    second = await door(orchestrator)

    await second.hosts.answer("x", [1], attempt=2)
    assert (await second.ended()).output == Payload(b"[1]")
    assert len(await second.store.open_executions({SOLE})) == 0


async def test_a_child_that_is_not_there_is_started(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.definitions.register("default", CHILD)
    await orchestrator.start(PARENT)
    child = (await orchestrator.hosts.call("x")).invocation.execution_id
    row = await orchestrator.executions.row("default", child)
    await orchestrator.offered.controls.pause("default", "e", e.PauseRequested("me"))
    running = orchestrator.offered.owners.local("default", child)
    assert running is not None
    orchestrator.engine.drop(running)
    await orchestrator.store.delete_execution(row.key, orchestrator.store.shard)
    second = await door(orchestrator)
    await second.definitions.register("default", CHILD)

    await second.offered.controls.resume("default", "e", "", "me")
    await second.hosts.answer("x", [2])
    assert (await second.ended()).output == Payload(b"[2]")


KEYED = f"name: keyed\nconcurrency: {{key: \"${{'one'}}\"}}\nsteps: [{{id: x, {CALL}}}]"


async def test_who_holds_a_place_and_who_waits_for_it_stay_so(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(KEYED)
    await orchestrator.hosts.call("x")
    await orchestrator.start(KEYED, execution_id="behind")
    second = await door(orchestrator)
    await second.start(KEYED, execution_id="last")

    await second.hosts.call("x", attempt=2, execution_id="e")
    assert {call.invocation.execution_id for call in second.hosts.calls} == {"e"}
    for execution_id, attempt in (("e", 2), ("behind", 1), ("last", 1)):
        await second.hosts.answer("x", attempt=attempt, execution_id=execution_id)
        await second.ended(execution_id)
    assert second.offered.concurrency_slots.leaked() == 0


async def test_what_was_paused_stays_paused(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start("name: w\nsteps: [{id: x, wait: {for: 1ms}}]", paused=True)
    await orchestrator.until(lambda state: state.status is Status.PAUSED)
    second = await door(orchestrator)

    assert (await second.executions.get("default", "e")).status is Status.PAUSED
    await second.offered.controls.resume("default", "e", "", "me")
    assert (await second.ended()).status is Status.SUCCEEDED


async def test_what_was_being_cancelled_ends_cancelled(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}}}]")
    await orchestrator.hosts.call("x")
    await orchestrator.offered.controls.cancel("default", "e", "me", "")
    second = await door(orchestrator)

    assert (await second.ended()).status is Status.CANCELLED


async def test_what_was_being_undone_is_undone(orchestrator: Mesh, door: Door) -> None:
    compensate = "compensate: {plugin: p, operation: o}"
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}, {compensate}}}, {{id: y, {CALL}}}]")
    await orchestrator.hosts.answer("x")
    (await orchestrator.hosts.call("y")).fail(BROKEN)
    await orchestrator.hosts.call("x:compensate")
    second = await door(orchestrator)

    await second.hosts.answer("x:compensate", attempt=2)
    assert (await second.ended()).status is Status.COMPENSATED


async def test_a_step_whose_result_may_be_kept_goes_on(orchestrator: Mesh, door: Door) -> None:
    await orchestrator.start(f"name: w\nsteps: [{{id: x, {CALL}, cache: {{ttl: 1h}}}}]")
    await orchestrator.hosts.call("x")
    second = await door(orchestrator)

    await second.hosts.answer("x", attempt=2)
    assert (await second.ended()).status is Status.SUCCEEDED


async def copied(orchestrator: Mesh, execution_id: str) -> None:
    data = b"".join([piece async for piece in orchestrator.offered.archives.export("default", "e")])
    await orchestrator.offered.archives.take_over("default", execution_id, data)


async def test_a_copy_does_not_run_beside_who_holds_the_place(orchestrator: Mesh) -> None:
    await orchestrator.start(KEYED)
    await orchestrator.hosts.call("x")
    await copied(orchestrator, "copy")
    resumed = await orchestrator.offered.controls.resume("default", "copy", "", "me")

    assert resumed.status is Status.QUEUED
    assert len(orchestrator.hosts.calls) == 1
    await orchestrator.hosts.answer("x")
    await orchestrator.hosts.answer("x", attempt=2, execution_id="copy")
    assert (await orchestrator.ended("copy")).status is Status.SUCCEEDED
    assert orchestrator.offered.concurrency_slots.leaked() == 0


async def test_a_copy_of_a_parent_has_a_child_of_its_own(orchestrator: Mesh) -> None:
    await orchestrator.definitions.register("default", CHILD)
    await orchestrator.start(PARENT)
    child = (await orchestrator.hosts.call("x")).invocation.execution_id
    await copied(orchestrator, "copy")

    assert (await orchestrator.executions.get("default", child)).pause is None
    await orchestrator.offered.controls.resume("default", "copy", "", "me")
    await orchestrator.hosts.until(lambda: len(orchestrator.hosts.calls) == 2)
    for call, value in zip(list(orchestrator.hosts.calls), ("first", "copy"), strict=True):
        call.succeed(value)
    assert (await orchestrator.ended()).output == Payload(b'"first"')
    assert (await orchestrator.ended("copy")).output == Payload(b'"copy"')


async def test_a_copy_of_a_child_answers_nobody(orchestrator: Mesh) -> None:
    calls_stop_when_told(orchestrator.hosts)
    await orchestrator.definitions.register("default", CHILD)
    await orchestrator.start(PARENT)
    child = (await orchestrator.hosts.call("x")).invocation.execution_id
    data = b"".join([piece async for piece in orchestrator.offered.archives.export("default", child)])
    await orchestrator.offered.archives.take_over("default", "copy", data)
    await orchestrator.offered.controls.resume("default", "copy", "", "me")
    await orchestrator.hosts.answer("x", "copy", attempt=2, execution_id="copy")
    await orchestrator.ended("copy")

    assert not (await orchestrator.executions.get("default", "e")).status.final
    await orchestrator.hosts.answer("x", "child", execution_id=child)
    assert (await orchestrator.ended()).output == Payload(b'"child"')
