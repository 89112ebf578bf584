"""Who undoes what: effects that go over from an execution to its forks, over the real store and engine."""

import asyncio
from typing import Any

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.control import ExecutionState
from forgemesh.faults.service import InvalidRequest
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.test_controls import BROKEN, CALL, UNDO
from tests.component.orchestrator.test_forks import fork

TRIP = f"""
name: trip
version: 1.0.0
steps:
  - {{id: a, {CALL}, {UNDO}}}
  - {{id: b, {CALL}, {UNDO.replace("steps.a", "steps.b")}}}
  - {{id: c, {CALL}, retry: {{max_attempts: 1}}}}
"""


async def begun(orchestrator: Orchestrator) -> None:
    """`a` and `b` are done, and `c` is under way."""
    await orchestrator.start(TRIP)
    await orchestrator.hosts.answer("a", "of a")
    await orchestrator.hosts.answer("b", "of b")
    await orchestrator.hosts.call("c")


async def terminated(orchestrator: Orchestrator, execution_id: str = "e") -> None:
    await orchestrator.offered.controls.terminate("default", execution_id, "", "")


async def failed(orchestrator: Orchestrator, execution_id: str) -> None:
    (await orchestrator.hosts.call("c", execution_id=execution_id)).fail(BROKEN)


def called(orchestrator: Orchestrator, path: str) -> list[str]:
    """The executions that have called the step."""
    return [call.invocation.execution_id for call in orchestrator.hosts.calls if call.path == path]


async def undone(orchestrator: Orchestrator, execution_id: str, *paths: str) -> Status:
    for path in paths:
        await orchestrator.hosts.answer(f"{path}:compensate", execution_id=execution_id)
    return (await orchestrator.ended(execution_id)).status


async def test_what_a_fork_took_over_is_undone_when_it_fails(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)

    await fork(orchestrator)
    await failed(orchestrator, "f")

    assert await undone(orchestrator, "f", "b", "a") is Status.COMPENSATED
    assert (called(orchestrator, "a"), called(orchestrator, "a:compensate")) == (["e"], ["f"])


async def test_of_two_forks_at_once_one_owns_the_effects(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)

    await asyncio.gather(*(fork(orchestrator, execution_id=name) for name in ("f", "g")))
    states = [await orchestrator.executions.get("default", name) for name in ("f", "g")]
    owner, other = sorted(states, key=lambda state: -len(state.undoable))

    assert [step.path for step in owner.undoable] == ["a", "b"]
    assert other.undoable == []
    assert {other.steps[path].owner for path in ("a", "b")} == {f"{owner.execution_id}@{owner.run_id}"}
    await failed(orchestrator, other.execution_id)
    assert (await orchestrator.ended(other.execution_id)).status is Status.FAILED
    await failed(orchestrator, owner.execution_id)
    assert await undone(orchestrator, owner.execution_id, "b", "a") is Status.COMPENSATED
    assert len(called(orchestrator, "a:compensate")) == 1


async def test_a_fork_after_the_first_one_has_undone_what_it_took_does_it_again(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)
    await fork(orchestrator)
    await failed(orchestrator, "f")
    await undone(orchestrator, "f", "b", "a")

    await fork(orchestrator, execution_id="g")
    await orchestrator.hosts.call("a", execution_id="g")

    assert called(orchestrator, "a") == ["e", "g"]


async def test_a_claim_outlives_the_process(orchestrator: Orchestrator, database: Database) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)
    await fork(orchestrator)
    await orchestrator.engine.stop(0)
    store, hosts = await store_over(database), ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    successor = orchestrator_over(store, hosts)
    await successor.recovery.run()

    await fork(successor, execution_id="g")
    await failed(successor, "g")
    assert (await successor.ended("g")).status is Status.FAILED

    (await hosts.call("c", attempt=2, execution_id="f")).fail(BROKEN)
    assert await undone(successor, "f", "b", "a") is Status.COMPENSATED


async def test_what_is_being_undone_is_not_forked(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await orchestrator.offered.controls.cancel("default", "e", "", "")

    with pytest.raises(ExecutionState, match="what it did is undone next"):
        await fork(orchestrator)
    (await orchestrator.hosts.call("c")).fail(BROKEN)
    await orchestrator.hosts.call("b:compensate")
    with pytest.raises(ExecutionState, match="COMPENSATING"):
        await fork(orchestrator)


async def test_what_was_undone_before_a_terminate_is_done_again(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await failed(orchestrator, "e")
    await orchestrator.hosts.answer("b:compensate")
    await orchestrator.hosts.call("a:compensate")
    await terminated(orchestrator)

    await fork(orchestrator)
    await orchestrator.hosts.answer("a", execution_id="f")
    await orchestrator.hosts.answer("b", execution_id="f")
    await failed(orchestrator, "f")

    assert await undone(orchestrator, "f", "b", "a") is Status.COMPENSATED
    assert called(orchestrator, "a") == ["e", "f"]


async def test_a_running_origin_undoes_its_own_and_the_fork_nothing(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)

    await fork(orchestrator)
    state = await orchestrator.executions.get("default", "f")
    await failed(orchestrator, "f")
    await failed(orchestrator, "e")

    assert state.steps["a"].owner.startswith("e@")
    assert (await orchestrator.ended("f")).status is Status.FAILED
    assert await undone(orchestrator, "e", "b", "a") is Status.COMPENSATED


async def test_a_result_that_was_lent_and_undone_since_is_not_lent_on(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await fork(orchestrator)
    await failed(orchestrator, "e")
    await undone(orchestrator, "e", "b", "a")
    await terminated(orchestrator, "f")

    again = {"namespace": "default", "workflow": "", "input": Payload(b"{}"), "execution_id": "g"}
    await fork_of(orchestrator, "f", again)

    assert (await orchestrator.hosts.call("a", execution_id="g")).path == "a"


async def fork_of(orchestrator: Orchestrator, origin: str, facts: dict[str, Any], rerun: Any = ()) -> None:
    await orchestrator.offered.controls.fork(StartRequest(**facts), origin, "", None, rerun, keep_signals=False)


async def test_nobody_knows_about_effects_of_a_fork_that_was_deleted(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)
    await fork(orchestrator)
    await terminated(orchestrator, "f")
    await orchestrator.offered.controls.delete("default", "f")

    with pytest.raises(ExecutionState, match="--rerun a"):
        await fork(orchestrator, execution_id="g")
    await fork(orchestrator, execution_id="g", rerun=["a", "b"])

    await orchestrator.hosts.call("a", execution_id="g")


async def test_the_same_request_gets_the_same_fork_whatever_has_become_of_it(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)
    first = await fork(orchestrator, request_id="r", execution_id="")
    await terminated(orchestrator, first)
    await orchestrator.ended(first)

    assert await fork(orchestrator, request_id="r", execution_id="") == first


async def test_a_fork_that_is_cancelled_undoes_what_it_took(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)
    await fork(orchestrator)

    await orchestrator.hosts.call("c", execution_id="f")
    await orchestrator.offered.controls.cancel("default", "f", "", "")
    await failed(orchestrator, "f")

    assert await undone(orchestrator, "f", "b", "a") is Status.COMPENSATED


async def test_the_undoing_of_a_step_is_no_step_to_run_again(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await failed(orchestrator, "e")
    await orchestrator.hosts.call("b:compensate")
    await terminated(orchestrator)

    with pytest.raises(InvalidRequest, match="b:compensate"):
        await fork(orchestrator, rerun=["b:compensate"])


async def test_what_was_left_to_do_and_went_over_is_shown_as_the_forks(orchestrator: Orchestrator) -> None:
    await begun(orchestrator)
    await terminated(orchestrator)
    before = await orchestrator.executions.get("default", "e")
    await fork(orchestrator, rerun=["b"])
    fork_run = (await orchestrator.executions.get("default", "f")).run_id

    after = await orchestrator.executions.get("default", "e")

    assert before.left_to_do == after.left_to_do == ("b", "a")
    assert (before.handed_over, after.handed_over) == ({}, {"a": f"f@{fork_run}"})
    assert [path for path in after.left_to_do if path not in after.handed_over] == ["b"]
