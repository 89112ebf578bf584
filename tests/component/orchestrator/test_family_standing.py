"""What is done to a parent is done to its child, and how the child stands is seen in its parent."""

import asyncio

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.engine import recovery
from forgemesh.orchestrator.execution.explain import Explanation
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import Failure
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.parents import CALL, CHILD, PARENT, child_of, members, passes, registered

KEYED = f"name: child\nconcurrency: {{key: one}}\nsteps: [{{id: x, {CALL}}}]"


@pytest.mark.parametrize("moment", range(0, 60, 5))
async def test_a_pause_holds_the_child_whenever_it_comes(orchestrator: Orchestrator, moment: int) -> None:
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    await passes(moment)
    await orchestrator.offered.controls.pause("default", "e", e.PauseRequested(interrupt=False))
    called = len(orchestrator.hosts.calls)
    await passes(60)

    assert len(orchestrator.hosts.calls) == called
    for row in await members(orchestrator):
        await orchestrator.until(lambda state: state.pause is not None, row.execution_id)
    await orchestrator.offered.controls.resume("default", "e", "", "me")
    await orchestrator.hosts.until(lambda: bool(orchestrator.hosts.calls))
    orchestrator.hosts.calls[-1].succeed()
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_queued_child_is_paused_with_its_parent(orchestrator: Orchestrator) -> None:
    keyed = KEYED.replace("key: one", "key: \"${'one'}\"")
    await orchestrator.start(keyed, execution_id="holder")
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)
    await orchestrator.offered.controls.pause("default", "e", e.PauseRequested("me"))
    await orchestrator.hosts.answer("x", execution_id="holder")
    await orchestrator.ended("holder")

    paused = await orchestrator.until(lambda state: not state.queued, child)
    assert paused.status is Status.PAUSED
    await orchestrator.offered.controls.resume("default", "e", "", "me")
    await orchestrator.hosts.answer("x", execution_id=child)
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


@pytest.mark.parametrize("paused", [False, True])
async def test_a_command_between_the_taking_up_of_a_parent_and_of_its_child_reaches_the_child(
    database: Database, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    monkeypatch.setattr(recovery, "AT_ONCE", 1)
    first = orchestrator_over(await store_over(database), hosts)
    await registered(first, CHILD)
    await first.start(PARENT.replace("CLOSE", "cancel"))
    child = (await hosts.call("x")).invocation.execution_id
    if paused:
        await first.offered.controls.pause("default", "e", e.PauseRequested("me", interrupt=True))
        await first.until(lambda state: state.pause is not None, child)
    second = orchestrator_over(await store_over(database), hosts)
    recovering = asyncio.create_task(second.recovery.run())
    while second.offered.owners.local("default", "e") is None:
        await asyncio.sleep(0)
    assert second.offered.owners.local("default", child) is None
    if paused:
        await second.offered.controls.resume("default", "e", "", "me")
    else:
        await second.offered.controls.pause("default", "e", e.PauseRequested("me"))
    await recovering

    assert ((await second.executions.get("default", child)).pause is None) == paused


async def test_a_parent_that_goes_on_leaves_a_child_that_somebody_has_paused(orchestrator: Orchestrator) -> None:
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)
    controls = orchestrator.offered.controls
    await controls.pause("default", "e", e.PauseRequested("parent's"))
    await controls.pause("default", child, e.PauseRequested("child's"))
    await controls.resume("default", "e", "", "me")

    state = await orchestrator.executions.get("default", child)
    assert state.pause is not None
    assert (state.pause.by, state.inherited_pause) == ("child's", None)
    await controls.resume("default", child, "", "me")
    await orchestrator.hosts.call("x")
    orchestrator.hosts.calls[-1].succeed()
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


UNDONE = f"""
name: child
steps:
  - {{id: x, {CALL}, compensate: {{plugin: p, operation: o, retry: {{max_attempts: 1}}}}}}
  - {{id: y, {CALL}, retry: {{max_attempts: 1}}}}
"""
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")


async def undoing(orchestrator: Orchestrator) -> str:
    """A parent whose child is undoing what it did; the child's id."""
    await registered(orchestrator, UNDONE)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel").replace("output: '${steps.c.output}'", ""))
    child = (await orchestrator.hosts.call("x")).invocation.execution_id
    await orchestrator.hosts.answer("x")
    (await orchestrator.hosts.call("y")).fail(BROKEN)
    await orchestrator.hosts.call("x:compensate")
    return child


@pytest.mark.parametrize("command", ["cancel", "pause"])
async def test_what_a_child_refuses_is_an_event_of_its_parent(orchestrator: Orchestrator, command: str) -> None:
    child = await undoing(orchestrator)
    controls = orchestrator.offered.controls
    if command == "cancel":
        await controls.cancel("default", "e", "me", "")
    else:
        await controls.pause("default", "e", e.PauseRequested("me"))
    state = await orchestrator.until(lambda state: state.sequence > 3)
    await orchestrator.hosts.answer("x:compensate")
    if command == "pause":
        await controls.resume("default", "e", "", "me")
    ended = await orchestrator.ended()

    assert not state.status.final
    refused = [event.fact for event in await orchestrator.history() if isinstance(event.fact, e.ChildCommandRefused)]
    assert [(fact.path, fact.child_id, fact.command) for fact in refused] == [("c", child, command)]
    assert refused[0].failure.reason == "EXECUTION_STATE"
    assert ended.ended_at >= (await orchestrator.ended(child)).ended_at


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_a_child_could_not_undo_is_left_to_do_in_its_parent(
    orchestrator: Orchestrator, cancelled: bool
) -> None:
    await undoing(orchestrator)
    if cancelled:
        await orchestrator.offered.controls.cancel("default", "e", "me", "")
    (await orchestrator.hosts.call("x:compensate")).fail(BROKEN)

    state = await orchestrator.ended()
    row = await orchestrator.executions.row("default", "e")
    assert (state.status, row.status) == (Status.COMPENSATION_FAILED, Status.COMPENSATION_FAILED)
    assert state.left_to_do == ("c",)
    assert state.failure is not None
    told = [state.failure.reason, *(cause.reason for cause in state.failure.causes)]
    assert "CHILD_FAILED" in told


async def test_a_child_that_could_not_undo_all_is_not_started_a_second_time(orchestrator: Orchestrator) -> None:
    await registered(orchestrator, UNDONE)
    await orchestrator.start("name: p\nsteps: [{id: c, workflow: {name: child}, retry: {max_attempts: 3}}]")
    await orchestrator.hosts.answer("x")
    (await orchestrator.hosts.call("y")).fail(BROKEN)
    (await orchestrator.hosts.call("x:compensate")).fail(BROKEN)

    assert (await orchestrator.ended()).steps["c"].attempts == 1


async def test_explain_says_how_a_child_stands_and_who_holds_its_place(orchestrator: Orchestrator) -> None:
    keyed = KEYED.replace("key: one", "key: \"${'one'}\"")
    await orchestrator.start(keyed, execution_id="holder")
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)

    def told(explanation: Explanation) -> str:
        return explanation.blockers[-1].message

    queued = await orchestrator.executions.explain("default", "e")
    assert "waits for a place under its concurrency key" in told(queued)
    assert "'holder' holds its place" in (await orchestrator.executions.explain("default", child)).summary
    await orchestrator.offered.controls.pause("default", child, e.PauseRequested("me"))
    assert "is paused" in told(await orchestrator.executions.explain("default", "e"))
    lost = orchestrator.offered.owners.local("default", child)
    assert lost is not None
    orchestrator.engine.drop(lost)
    assert "is not there yet" in told(await orchestrator.executions.explain("default", "e"))
    orchestrator.offered.open_executions.suspended.add(("default", child))
    assert "is suspended" in told(await orchestrator.executions.explain("default", "e"))


async def test_a_start_whose_map_item_is_over_before_its_turn_comes_starts_nothing(orchestrator: Orchestrator) -> None:
    """As when a map stops around an item whose attempt is answered in the same moment: it is forgotten by then."""
    await registered(orchestrator, CHILD)
    await orchestrator.start(
        "name: parent\nsteps: [{id: m, map: {over: '${[1]}', "
        "steps: [{id: c, workflow: {name: child}, input: {n: '${item}'}}]}}, {id: after, wait: {signal: go}}]"
    )
    await orchestrator.hosts.answer("x", [7])
    parent = orchestrator.offered.owners.local("default", "e")
    assert parent is not None
    async with asyncio.timeout(PATIENCE):
        while "after" not in parent.state.steps:
            await asyncio.sleep(0)
    assert "m/0/c" not in parent.state.steps

    await orchestrator.offered.children._start(parent, "m/0/c", 1)

    assert orchestrator.offered.owners.local("default", "e") is parent
