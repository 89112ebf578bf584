"""Forks and checkpoints, over the real store and engine."""

from typing import Any

import pytest

from forgemesh.faults.control import CheckpointNotFound, CheckpointSuperseded, ExecutionState
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.orchestrators import Orchestrator
from tests.component.orchestrator.test_controls import BROKEN, CALL, THREE_BRANCHES, TWO, UNDO, pause


async def checkpoints(orchestrator: Orchestrator) -> dict[str, str]:
    _, found = await orchestrator.executions.checkpoints("default", "e", 0, 100)
    return {one.path: one.id for one in found}


async def fork(orchestrator: Orchestrator, checkpoint_id: str = "", **facts: Any) -> str:
    known: dict[str, Any] = {"namespace": "default", "workflow": "", "input": Payload(b"{}"), "execution_id": "f"}
    patch, rerun = facts.pop("patch", None), facts.pop("rerun", [])
    request = StartRequest(**(known | facts))
    state, _ = await orchestrator.offered.controls.fork(request, "e", checkpoint_id, patch, rerun, keep_signals=False)
    return state.execution_id


async def test_a_fork_takes_results_over_and_leaves_its_origin_alone(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO.replace(", compensate", ", timeouts: {heartbeat: 9s}, compensate"), {"n": 1})
    await orchestrator.hosts.answer("a", {"id": 7})
    (await orchestrator.hosts.call("b")).fail(BROKEN)
    await orchestrator.hosts.answer("a:compensate")
    before = await orchestrator.ended()

    with pytest.raises(ExecutionState, match="COMPENSATED"):
        await fork(orchestrator)
    assert (await orchestrator.executions.get("default", "e")).sequence == before.sequence


async def test_a_fork_begins_with_what_comes_after_its_checkpoint(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO.replace(UNDO, "priority: 1"), {"n": 1})
    await orchestrator.hosts.answer("a", {"id": 7})
    (await orchestrator.hosts.call("b")).fail(BROKEN)
    before = await orchestrator.ended()

    await fork(orchestrator, (await checkpoints(orchestrator))["a"])
    call = await orchestrator.hosts.call("b", execution_id="f")
    assert call.invocation.input == Payload(b'{"id": 7}')
    call.succeed(9)
    forked = await orchestrator.ended("f")

    assert forked.output == Payload(b"9")
    assert forked.steps["a"].taken
    assert [call.path for call in orchestrator.hosts.calls if call.invocation.execution_id == "f"] == ["b"]
    assert (await orchestrator.executions.get("default", "e")).sequence == before.sequence
    assert before.started is not None
    assert forked.started is not None
    assert forked.started.linked_span.startswith(before.trace_id)


async def test_a_fork_of_a_half_done_group_calls_only_what_was_not_done(orchestrator: Orchestrator) -> None:
    await orchestrator.start(THREE_BRANCHES)
    await orchestrator.hosts.answer("g/a/x", 1)
    await orchestrator.hosts.answer("g/b/x", 2)
    await orchestrator.until(lambda state: state.steps["g/b/x"].status is StepStatus.SUCCEEDED)
    await orchestrator.offered.controls.terminate("default", "e", "", "")

    await fork(orchestrator)
    await orchestrator.hosts.answer("g/c/x", 3, execution_id="f")

    assert (await orchestrator.ended("f")).output == Payload(b'{"a":1,"b":2,"c":3}')
    assert [call.path for call in orchestrator.hosts.calls if call.invocation.execution_id == "f"] == ["g/c/x"]


async def test_a_fork_can_run_steps_again_with_another_input(orchestrator: Orchestrator) -> None:
    source = f"name: r\nsteps:\n  - {{id: a, {CALL}, input: '${{input}}'}}\n  - {{id: b, {CALL}}}"
    await orchestrator.start(source, {"n": 1, "m": 2})
    await orchestrator.hosts.answer("a")
    await orchestrator.hosts.answer("b")
    await orchestrator.ended()

    await fork(orchestrator, patch=Payload(b'{"n":5,"m":null}'), rerun=["a"])
    call = await orchestrator.hosts.call("a", execution_id="f")

    assert call.invocation.input == Payload(b'{"n":5}')


async def test_checkpoints_from_elsewhere_and_old_ones_are_told_apart(orchestrator: Orchestrator) -> None:
    await orchestrator.start(THREE_BRANCHES)
    await orchestrator.hosts.answer("g/a/x")
    await orchestrator.hosts.answer("g/b/x")
    await orchestrator.until(lambda state: state.steps["g/b/x"].status is StepStatus.SUCCEEDED)
    await pause(orchestrator)
    known = await checkpoints(orchestrator)
    controls = orchestrator.offered.controls

    with pytest.raises(CheckpointNotFound):
        await controls.resume("default", "e", "9-00000000", "me")
    with pytest.raises(CheckpointNotFound):
        await fork(orchestrator, f"{known['g/a/x'].split('-')[0]}-deadbeef")
    with pytest.raises(CheckpointSuperseded, match=known["g/b/x"]):
        await controls.resume("default", "e", known["g/a/x"], "me")
    assert (await controls.resume("default", "e", known["g/b/x"], "me")).status is Status.RUNNING
