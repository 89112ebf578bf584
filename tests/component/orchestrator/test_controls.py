"""What people do to executions, over the real store and engine."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.faults.control import (
    ExecutionState,
    NoIncident,
)
from forgemesh.faults.workflow import Cancelled, ExecutionExists, ExecutionNotFound
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import PATIENCE, Call, ScriptedHosts, endpoint, with_open_circuit
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

CALL = "call: {plugin: p, operation: o}"
UNDO = 'compensate: {plugin: p, operation: o, input: "${steps.a.output}"}'
TWO = f"""
name: two
version: 1.0.0
steps:
  - {{id: a, {CALL}, input: {{n: "${{input.n}}"}}, {UNDO}}}
  - {{id: b, {CALL}, input: "${{steps.a.output}}", retry: {{max_attempts: 1}}}}
output: "${{steps.b.output}}"
"""
THREE_BRANCHES = f"""
name: three
steps:
  - id: g
    parallel:
      branches:
        a: [{{id: x, {CALL}}}]
        b: [{{id: x, {CALL}}}]
        c: [{{id: x, {CALL}}}]
output: "${{steps.g.output}}"
"""
SIGNALLED = f"""
name: signalled
steps:
  - {{id: w, wait: {{signal: go}}}}
  - {{id: a, {CALL}, input: "${{steps.w.output}}"}}
output: "${{steps.a.output}}"
"""
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")
AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)


def taken_back(call: Call) -> None:
    """What a plugin that heeds its cancellation answers."""
    call.fail(failure_of(Cancelled(call.path), step_path=call.path))


def obedient(hosts: ScriptedHosts) -> None:
    for link in hosts.links("p").values():
        link.on_cancel = taken_back


async def pause(orchestrator: Orchestrator, **facts: Any) -> Status:
    return (await orchestrator.offered.controls.pause("default", "e", e.PauseRequested(**facts))).status


async def status(orchestrator: Orchestrator, execution_id: str = "e") -> Status:
    return (await orchestrator.executions.get("default", execution_id)).status


async def test_a_pause_lets_calls_end_and_starts_nothing_after_its_answer(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO, {"n": 1})
    call = await orchestrator.hosts.call("a")

    assert await pause(orchestrator) is Status.PAUSING
    call.succeed({})
    await orchestrator.until(lambda state: state.status is Status.PAUSED)
    assert [call.path for call in orchestrator.hosts.calls] == ["a"]
    assert await pause(orchestrator) is Status.PAUSED
    assert (await orchestrator.offered.controls.resume("default", "e", "", "me")).status is Status.RUNNING
    await orchestrator.hosts.answer("b", 3)

    assert (await orchestrator.ended()).output == Payload(b"3")


async def test_an_interrupting_pause_takes_calls_back_and_makes_them_again(orchestrator: Orchestrator) -> None:
    obedient(orchestrator.hosts)
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.hosts.call("a")

    await pause(orchestrator, interrupt=True)
    paused = await orchestrator.until(lambda state: state.status is Status.PAUSED)
    assert paused.steps["a"].status is StepStatus.WAITING
    await orchestrator.offered.controls.resume("default", "e", "", "me")
    await orchestrator.hosts.answer("a", {}, attempt=2)
    await orchestrator.hosts.answer("b", 3)

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_call_that_waits_for_an_instance_does_not_leave_during_a_pause(orchestrator: Orchestrator) -> None:
    orchestrator.hosts.show("p", with_open_circuit("i-1", 1e12))
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.until(lambda state: state.steps["a"].status is StepStatus.BLOCKED)

    await pause(orchestrator)
    await orchestrator.until(lambda state: state.status is Status.PAUSED)
    orchestrator.hosts.show("p", endpoint("i-2"))
    assert orchestrator.hosts.calls == []
    await orchestrator.offered.controls.resume("default", "e", "", "me")
    await orchestrator.hosts.answer("a", {}, attempt=2)
    await orchestrator.hosts.answer("b")

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_paused_execution_stays_paused_over_a_crash(database: Database, hosts: ScriptedHosts) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await first.start(TWO, {"n": 1})
    await pause(first)

    second = orchestrator_over(await store_over(database), hosts)
    await second.recovery.run()
    await second.until(lambda state: state.status is Status.PAUSED)
    await second.offered.controls.resume("default", "e", "", "me")
    await hosts.answer("a", {}, attempt=2)
    await hosts.answer("b")

    assert (await second.ended()).status is Status.SUCCEEDED


async def test_a_cancelled_execution_takes_calls_back_and_undoes_what_it_did(orchestrator: Orchestrator) -> None:
    obedient(orchestrator.hosts)
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.hosts.answer("a", {"id": 7})
    await orchestrator.hosts.call("b")

    await orchestrator.offered.controls.cancel("default", "e", "me", "wrong order")
    undo = await orchestrator.hosts.call("a:compensate")
    assert json.loads(undo.invocation.input.data) == {"id": 7}
    with pytest.raises(ExecutionState, match="COMPENSATING"):
        await orchestrator.offered.controls.cancel("default", "e", "me", "again")
    undo.succeed()
    ended = await orchestrator.ended()

    assert ended.status is Status.COMPENSATED
    assert ended.failure is not None
    assert ended.failure.message == "execution 'e' was cancelled by me: wrong order"


async def test_a_compensation_that_a_crash_cut_off_goes_on_where_it_was(
    database: Database, hosts: ScriptedHosts
) -> None:
    undo = "compensate: {plugin: p, operation: o}"
    steps = "\n".join(f"  - {{id: s{n}, {CALL}, {undo}}}" for n in (1, 2, 3))
    saga = f"name: saga\nsteps:\n{steps}\n  - {{id: s4, {CALL}, retry: {{max_attempts: 1}}}}\n  - {{id: s5, {CALL}}}"
    first = orchestrator_over(await store_over(database), hosts)
    await first.start(saga)
    for step in ("s1", "s2", "s3"):
        await hosts.answer(step)
    (await hosts.call("s4")).fail(BROKEN)
    await hosts.answer("s3:compensate")
    await hosts.call("s2:compensate")

    second = orchestrator_over(await store_over(database), hosts)
    await second.recovery.run()
    await hosts.answer("s2:compensate", attempt=2)
    await hosts.answer("s1:compensate")
    ended = await second.ended()

    assert ended.status is Status.COMPENSATED
    assert ended.failure is not None
    assert ended.failure.reason == "BROKEN"
    undone = [call.path for call in hosts.calls if call.path.endswith("compensate")]
    assert undone == ["s3:compensate", "s2:compensate", "s2:compensate", "s1:compensate"]


async def test_what_cannot_be_undone_is_left_to_people_as_a_list(orchestrator: Orchestrator) -> None:
    undo = "compensate: {plugin: p, operation: o, retry: {max_attempts: 1}}"
    steps = "\n".join(f"  - {{id: s{n}, {CALL}, {undo}}}" for n in (1, 2, 3))
    await orchestrator.start(f"name: saga\nsteps:\n{steps}\n  - {{id: s4, {CALL}}}")
    for step in ("s1", "s2", "s3"):
        await orchestrator.hosts.answer(step)
    (await orchestrator.hosts.call("s4")).fail(BROKEN)
    await orchestrator.hosts.answer("s3:compensate")
    (await orchestrator.hosts.call("s2:compensate")).fail(BROKEN)

    ended = await orchestrator.ended()
    assert ended.status is Status.COMPENSATION_FAILED
    assert ended.left_to_do == ("s2", "s1")


async def test_a_terminated_execution_ends_at_once_and_undoes_nothing(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.hosts.answer("a", {})
    call = await orchestrator.hosts.call("b")

    ended = await orchestrator.offered.controls.terminate("default", "e", "me", "stuck")
    assert ended.status is Status.TERMINATED
    assert ended.left_to_do == ("a",)
    assert call.cancelled
    call.succeed("late")

    assert (await orchestrator.offered.controls.terminate("default", "e", "me", "stuck")).status is Status.TERMINATED
    with pytest.raises(ExecutionState, match="is TERMINATED and cannot be terminated"):
        await orchestrator.offered.controls.terminate("default", "e", "me", "again")
    assert [call.path for call in orchestrator.hosts.calls] == ["a", "b"]


@pytest.mark.parametrize("action", ["pause", "resume", "cancel", "signal", "resolve"])
async def test_what_has_ended_is_left_alone_and_the_refusal_names_its_state(
    orchestrator: Orchestrator, action: str
) -> None:
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.hosts.answer("a", {})
    await orchestrator.hosts.answer("b", 3)
    before = await orchestrator.ended()
    controls = orchestrator.offered.controls
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "pause": lambda: controls.pause("default", "e", e.PauseRequested()),
        "resume": lambda: controls.resume("default", "e", "", "me"),
        "cancel": lambda: controls.cancel("default", "e", "me", ""),
        "signal": lambda: controls.signal("default", "e", e.SignalReceived("go", Payload(b"1"))),
        "resolve": lambda: controls.resolve("default", "e", "b", "retry", None, "me", ""),
    }

    with pytest.raises(ExecutionState, match="'e' is SUCCEEDED") as refused:
        await asked[action]()
    assert "forgemesh execution fork e" in refused.value.message
    assert (await orchestrator.executions.get("default", "e")).sequence == before.sequence


async def test_a_signal_that_came_first_is_kept_for_the_step_that_waits_for_it(orchestrator: Orchestrator) -> None:
    source = SIGNALLED.replace("  - {id: w", f"  - {{id: before, {CALL}}}\n  - {{id: w")
    await orchestrator.start(source)
    signal = e.SignalReceived("go", Payload(b'{"by":"me"}'), "s-1")

    assert (await orchestrator.offered.controls.signal("default", "e", signal))[:2] == (True, 3)
    assert (await orchestrator.offered.controls.signal("default", "e", signal))[:2] == (False, 3)
    await orchestrator.hosts.answer("before")

    assert (await orchestrator.hosts.call("a")).invocation.input == Payload(b'{"by":"me"}')


async def test_a_start_with_a_signal_brings_it_to_the_open_execution_too(orchestrator: Orchestrator) -> None:
    stored, _ = await orchestrator.definitions.register("default", SIGNALLED)
    signal = e.SignalReceived("go", Payload(b"1"))

    def request(number: int) -> StartRequest:
        return StartRequest(
            namespace="default",
            workflow=stored.definition.name,
            execution_id="e",
            input=Payload(b"{}"),
            conflict="use_existing",
            signal=e.SignalReceived(signal.name, signal.payload, f"s-{number}"),
        )

    _, first = await orchestrator.offered.starts.start(request(1))
    await orchestrator.hosts.call("a")
    _, second = await orchestrator.offered.starts.start(request(2))

    assert (first, second) == (True, False)
    received = [event.fact for event in await orchestrator.history() if isinstance(event.fact, e.SignalReceived)]
    assert [fact.signal_id for fact in received] == ["s-1", "s-2"]


@pytest.mark.parametrize("reuse", list(IdReuse))
@pytest.mark.parametrize("conflict", ["fail", "use_existing", "terminate_existing"])
async def test_the_id_policies_decide_apart_about_open_and_ended_executions(
    orchestrator: Orchestrator, reuse: IdReuse, conflict: str
) -> None:
    running = await orchestrator.start(TWO, {"n": 1})
    again = {"given": {"n": 2}, "reuse": reuse, "conflict": conflict}

    if conflict == "fail":
        with pytest.raises(ExecutionExists):
            await orchestrator.start(TWO, **again)
    elif conflict == "use_existing":
        assert (await orchestrator.start(TWO, **again)).started_at == running.started_at
    else:
        assert (await orchestrator.start(TWO, **again)).status is Status.RUNNING
        assert await status(orchestrator, "e~1") is Status.TERMINATED


@pytest.mark.parametrize("conflict", ["fail", "use_existing", "terminate_existing"])
async def test_a_start_that_is_asked_for_again_leaves_its_own_execution_alone(
    orchestrator: Orchestrator, conflict: Literal["fail", "use_existing", "terminate_existing"]
) -> None:
    stored, _ = await orchestrator.definitions.register("default", TWO)
    request = StartRequest(
        namespace="default",
        workflow=stored.definition.name,
        execution_id="e",
        request_id="r",
        input=Payload(b'{"n":1}'),
        reuse=IdReuse.ALLOW_DUPLICATE,
        conflict=conflict,
    )

    first, started = await orchestrator.offered.starts.start(request)
    again, started_again = await orchestrator.offered.starts.start(request)

    assert (started, started_again) == (True, False)
    assert again.started_at == first.started_at
    assert await status(orchestrator) is Status.RUNNING


async def test_an_exhausted_step_waits_for_a_person_and_goes_on_with_other_input(orchestrator: Orchestrator) -> None:
    await orchestrator.start(f"name: i\nsteps: [{{id: a, {CALL}, on_exhausted: incident, retry: {{max_attempts: 1}}}}]")
    (await orchestrator.hosts.call("a")).fail(BROKEN)
    await orchestrator.until(lambda state: state.steps["a"].status is StepStatus.INCIDENT)

    with pytest.raises(NoIncident, match="those that do: a"):
        await orchestrator.offered.controls.resolve("default", "e", "b", "retry", None, "me", "")
    await orchestrator.offered.controls.resolve("default", "e", "a", "retry", Payload(b'{"x":1}'), "me", "typo")
    call = await orchestrator.hosts.call("a", attempt=2)
    assert call.invocation.input == Payload(b'{"x":1}')
    call.succeed()

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_call_that_must_not_be_repeated_is_in_doubt_once_its_host_is_lost(
    orchestrator: Orchestrator,
) -> None:
    await orchestrator.start(f"name: d\nsteps: [{{id: a, {CALL}, idempotent: false}}]\noutput: '${{steps.a.output}}'")
    lost = Failure(Code.UNAVAILABLE, "HOST_LOST", "gone", retryable=True)
    (await orchestrator.hosts.call("a")).fail(lost)
    await orchestrator.until(lambda state: state.steps["a"].status is StepStatus.IN_DOUBT)

    explained = await orchestrator.executions.explain("default", "e")
    assert explained.blockers[0].reason == "IN_DOUBT"
    assert "forgemesh execution resolve e a" in explained.blockers[0].message
    await orchestrator.offered.controls.resolve("default", "e", "a", "complete", Payload(b"7"), "me", "it was done")

    assert (await orchestrator.ended()).output == Payload(b"7")
    assert len(orchestrator.hosts.calls) == 1


async def test_a_deleted_execution_is_gone_and_an_open_one_is_not_deleted(orchestrator: Orchestrator) -> None:
    await orchestrator.start(SIGNALLED)
    controls = orchestrator.offered.controls

    with pytest.raises(ExecutionState, match="RUNNING"):
        await controls.delete("default", "e")
    await controls.terminate("default", "e", "", "")
    await controls.delete("default", "e")
    await controls.delete("default", "e")

    with pytest.raises(ExecutionNotFound):
        await orchestrator.executions.get("default", "e")


async def test_a_hundred_requests_at_once_pause_and_resume_once(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO, {"n": 1})
    (await orchestrator.hosts.call("a")).succeed({})
    await orchestrator.hosts.call("b")
    controls = orchestrator.offered.controls

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(pause(orchestrator) for _ in range(100)))
        await asyncio.gather(*(controls.resume("default", "e", "", "me") for _ in range(100)))
    await orchestrator.hosts.answer("b")

    await orchestrator.ended()
    kinds = [type(event.fact).__name__ for event in await orchestrator.history()]
    assert kinds.count("PauseRequested") == kinds.count("ExecutionResumed") == 1
    assert [call.path for call in orchestrator.hosts.calls] == ["a", "b"]
