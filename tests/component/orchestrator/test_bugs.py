"""A bug in what is done for one execution ends nothing but its turn: it is taken up again, and the others go on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from forgemesh.chassis.reconcile import ReconcileLoop
from forgemesh.chassis.tasks import beside
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.dispatch import router as route
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.commands.starts import Starts
from forgemesh.orchestrator.execution.effects import StartCall
from forgemesh.orchestrator.execution.engine import calls, children
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.executor import Executor
from forgemesh.orchestrator.execution.engine.suspension import TRIES
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts, ScriptedLink, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator

ONE = "name: one\nsteps: [{id: a, call: {plugin: p, operation: o}}]"
ONCE = "name: once\nsteps: [{id: a, call: {plugin: p, operation: o}, retry: {max_attempts: 1}, idempotent: false}]"
TWO = """
name: two
steps:
  - {id: a, call: {plugin: p, operation: o}}
  - {id: b, call: {plugin: p, operation: o}, retry: {max_attempts: 1}, idempotent: false}
"""
WAITS = "name: waits\nsteps: [{id: w, wait: {for: 10ms}}, {id: a, call: {plugin: p, operation: o}}]"
KEPT = """
name: kept
steps: [{id: a, call: {plugin: p, operation: o}, cache: {key: "'k'", ttl: 1h}}]
"""
LIMITED = "name: limited\nconcurrency: {key: \"'k'\"}\nsteps: [{id: a, call: {plugin: p, operation: o}}]"
PARENT = "name: parent\nsteps: [{id: child, workflow: {name: one}}]"


class Planted(Exception):
    """A bug of ours."""


class Plant:
    """Raises in place of a method of ours, so many times, where `strikes` says so; otherwise the method runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.struck = 0
        self.times = 1
        self.strikes: Callable[..., bool] = lambda *given, **named: True
        real = getattr(owner, name)

        def planted(*given: Any, **named: Any) -> Any:
            if self.struck < self.times and self.strikes(*given, **named):
                self.struck += 1
                raise Planted(name)
            return real(*given, **named)

        monkeypatch.setattr(owner, name, planted)


@pytest.fixture
async def swept(orchestrator: Orchestrator) -> AsyncIterator[Orchestrator]:
    sweep = ReconcileLoop("sweep", orchestrator.offered.sweep.run, period=0.1)
    orchestrator.engine.on_suspended.add(sweep.nudge)
    async with beside(sweep.run()):
        yield orchestrator


async def ended(orchestrator: Orchestrator, execution_id: str = "e") -> ExecutionState:
    async with asyncio.timeout(PATIENCE):
        while not (state := await orchestrator.executions.get("default", execution_id)).status.final:
            running = orchestrator.offered.owners.local("default", execution_id)
            if running is not None:
                await running.left.wait()
    return state


async def facts(orchestrator: Orchestrator, kind: type[e.Fact], execution_id: str = "e") -> list[Any]:
    return [one.fact for one in await orchestrator.history(execution_id) if isinstance(one.fact, kind)]


@contextmanager
def no_other_trouble() -> Iterator[list[dict[str, Any]]]:
    """What came to the event loop because nobody else had taken it; must stay empty."""
    loop, seen = asyncio.get_running_loop(), []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    try:
        yield seen
    finally:
        loop.set_exception_handler(before)
    assert seen == []


async def test_a_bug_in_an_effect_ends_its_own_turn_alone_and_what_had_not_left_is_sent(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(monkeypatch, calls.Calls, "start")
    plant.strikes = lambda _, running, step: running.name[1] == "e" and step.path == "b"
    with no_other_trouble():
        await swept.start(TWO)
        await swept.start(TWO, execution_id="innocent")
        for path in "ab":
            await hosts.answer(path, execution_id="e")
            await hosts.answer(path, execution_id="innocent")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert plant.struck == swept.engine.bugs == 1
    assert [fact.attempt for fact in await facts(swept, e.AttemptStarted) if fact.path == "b"] == [1]
    assert await facts(swept, e.AttemptFailed) == []
    assert await facts(swept, e.ExecutionRecovered, "innocent") == []


async def test_what_was_written_behind_a_bug_is_not_lost_either(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(monkeypatch, Executor, "perform")
    plant.strikes = lambda _, running, effect: effect == StartCall("a", 1)
    await swept.start(TWO.replace("call:", "after: [], call:"))
    with no_other_trouble():
        await hosts.answer("a")
        await hosts.answer("b")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert plant.struck == 1
    assert await facts(swept, e.AttemptFailed) == []


async def test_a_bug_that_comes_again_and_again_sets_the_execution_aside_with_its_reason(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(monkeypatch, calls.Calls, "start")
    plant.strikes, plant.times = lambda _, running, step: running.name[1] == "e", 1_000
    taken_up = Plant(monkeypatch, calls.Calls, "take_up")
    taken_up.strikes, taken_up.times = plant.strikes, 1_000
    await swept.start(ONE, execution_id="innocent")
    await swept.start(ONE)
    async with asyncio.timeout(PATIENCE):
        while ("default", "e") not in swept.offered.open_executions.set_aside:
            await asyncio.sleep(0)

    state = await swept.executions.get("default", "e")
    assert "(Planted) has interrupted it 3 times in a row" in swept.executions.view(state).suspended
    assert swept.engine.bugs == plant.struck + taken_up.struck == TRIES
    with pytest.raises(ExecutionSuspended, match="is set aside: a bug of the orchestrator"):
        await swept.offered.controls.cancel("default", "e", "me", "")
    assert (await swept.offered.controls.terminate("default", "e", "me", "")).status is Status.TERMINATED
    await hosts.answer("a", execution_id="innocent")
    assert (await ended(swept, "innocent")).status is Status.SUCCEEDED


async def test_a_bug_in_taking_an_answer_leaves_the_others_theirs(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plant(monkeypatch, calls, "succeeded").strikes = lambda state, *rest: state.execution_id == "e"
    await swept.start(ONE)
    await swept.start(ONE, execution_id="innocent")
    with no_other_trouble():
        await hosts.answer("a", execution_id="e")
        await hosts.answer("a", execution_id="innocent")
        assert (await ended(swept, "innocent")).status is Status.SUCCEEDED
        await hosts.answer("a", attempt=2, execution_id="e")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert [fact.failure.reason for fact in await facts(swept, e.AttemptFailed)] == ["ORCHESTRATOR_LOST"]


async def test_a_bug_when_a_timer_rings_is_made_good(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await swept.start(WAITS)
    plant = Plant(monkeypatch, Engine, "_decide")
    plant.strikes = lambda _, running, facts=(): not facts
    with no_other_trouble():
        await hosts.answer("a")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert plant.struck == swept.engine.bugs == 1


async def test_a_bug_in_sending_one_call_keeps_no_other_one_that_waits_from_leaving(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.show("p")
    Plant(monkeypatch, ScriptedLink, "invoke").strikes = lambda _, invocation, caller: invocation.execution_id == "e"
    await swept.start(ONCE)
    for number in range(3):
        await swept.start(ONE, execution_id=f"innocent-{number}")
    await swept.until(lambda state: bool(state.open_attempts))
    with no_other_trouble():
        hosts.show("p", endpoint("i-1"))
        for number in range(3):
            await hosts.answer("a", execution_id=f"innocent-{number}")
            assert (await ended(swept, f"innocent-{number}")).status is Status.SUCCEEDED

        state = await swept.until(lambda state: bool(state.incidents))

    assert state.status is Status.RUNNING, "nobody knows whether it has left: a person decides"


async def test_a_bug_before_a_call_has_left_is_no_doubt(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.show("p")
    await swept.start(ONCE)
    await swept.until(lambda state: bool(state.open_attempts))
    plant = Plant(monkeypatch, route.PluginRoute, "find")
    hosts.show("p", endpoint("i-1"))
    with no_other_trouble():
        await hosts.answer("a")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert plant.struck == 1


async def test_an_alarm_that_fails_keeps_no_other_one_from_ringing(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ONE.replace("}}", "}, timeouts: {start_to_close: 100ms}, retry: {max_attempts: 100, initial: 1ms}}")
    plant = Plant(monkeypatch, swept.offered.calls._dispatcher, "timed_out")
    plant.strikes = lambda call, fault: call.request.run[1] == "e"
    with no_other_trouble():
        await swept.start(late)
        await swept.start(late, execution_id="innocent")
        async with beside(*(hosts.answer_from("a", 2, name) for name in ("e", "innocent"))):
            for name in ("e", "innocent"):
                assert (await ended(swept, name)).status is Status.SUCCEEDED

    assert plant.struck == 1


async def test_a_bug_in_the_start_of_a_child_does_not_leave_its_parent_waiting(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await swept.definitions.register("default", ONE)
    plant = Plant(monkeypatch, Starts, "start_child")
    with no_other_trouble():
        await swept.start(PARENT)
        await hosts.answer("a")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert plant.struck == swept.engine.bugs == 1


async def test_a_bug_in_telling_a_parent_that_its_child_has_ended_is_made_good(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await swept.definitions.register("default", ONE)
    plant = Plant(monkeypatch, children, "succeeded")
    with no_other_trouble():
        await swept.start(PARENT)
        await hosts.answer("a")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert plant.struck == 1


async def test_a_bug_in_the_look_for_a_kept_result_calls_instead(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(monkeypatch, swept.store, "cached")
    with no_other_trouble():
        await swept.start(KEPT)
        await hosts.answer("a")

        assert (await ended(swept)).status is Status.SUCCEEDED

    assert (plant.struck, await facts(swept, e.ExecutionRecovered)) == (1, [])


async def test_a_bug_in_an_admission_keeps_nobody_waiting_for_ever(
    swept: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await swept.start(LIMITED, execution_id="first")
    await swept.start(LIMITED)
    plant = Plant(monkeypatch, e, "ExecutionAdmitted")
    with no_other_trouble():
        await hosts.answer("a", execution_id="first")
        await hosts.answer("a", execution_id="e")

        assert (await ended(swept)).status is Status.SUCCEEDED
        assert (await ended(swept, "first")).status is Status.SUCCEEDED

    assert plant.struck == 1


async def test_the_sweep_takes_up_what_has_an_attempt_that_nobody_carries_out_and_says_so(
    orchestrator: Orchestrator, hosts: ScriptedHosts, caplog: pytest.LogCaptureFixture
) -> None:
    await orchestrator.start(ONE)
    await orchestrator.start(ONE, execution_id="innocent")
    await hosts.call("a", execution_id="e")
    await hosts.call("a", execution_id="innocent")
    dispatcher = orchestrator.offered.calls._dispatcher
    lost = dispatcher.active.find((orchestrator.offered.owners.local("default", "e").run, "a"))  # type: ignore[union-attr]
    assert lost is not None
    dispatcher.active.remove(lost)

    await orchestrator.offered.sweep.run()
    await orchestrator.offered.sweep.run()
    await hosts.answer("a", attempt=2, execution_id="e")

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    assert orchestrator.offered.sweep.saved == 1
    assert "nobody carries out 1 open attempts of execution e: a (attempt 1)" in caplog.text
    assert await facts(orchestrator, e.ExecutionRecovered, "innocent") == []


async def test_the_sweep_sees_a_call_that_is_in_no_queue(orchestrator: Orchestrator, hosts: ScriptedHosts) -> None:
    hosts.show("p")
    await orchestrator.start(ONE)
    await orchestrator.until(lambda state: bool(state.open_attempts))
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    await running.durable()
    call = orchestrator.offered.calls._dispatcher.active.find((running.run, "a"))
    assert call is not None
    call.target_queue.queue.remove(call.request.key)

    await orchestrator.offered.sweep.run()
    await orchestrator.offered.sweep.run()
    hosts.show("p", endpoint("i-1"))
    await hosts.answer("a")

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    assert orchestrator.offered.sweep.saved == 1


async def test_the_sweep_takes_back_calls_of_what_does_not_run_here(
    orchestrator: Orchestrator, hosts: ScriptedHosts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await orchestrator.start(ONE)
    call = await hosts.call("a")
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    with monkeypatch.context() as patch:
        patch.setattr(Executor, "dropped", lambda self, running: None)
        orchestrator.engine.drop(running)

    orchestrator.offered.sweep._take_strays_back()

    assert call.cancelled
    assert orchestrator.offered.sweep.saved == 1
    assert "calls of execution e, which does not run here, are taken back" in caplog.text


@pytest.mark.parametrize("source", [TWO, KEPT, WAITS, PARENT, LIMITED])
async def test_what_is_carried_out_is_left_alone(orchestrator: Orchestrator, hosts: ScriptedHosts, source: str) -> None:
    await orchestrator.definitions.register("default", ONE)

    async def look() -> None:
        while True:
            await orchestrator.offered.sweep.run()
            await asyncio.sleep(0)

    async with beside(look()), _answering(hosts):
        await orchestrator.start(source)
        await orchestrator.start(source, execution_id="e2")
        assert (await ended(orchestrator)).status is Status.SUCCEEDED
        assert (await ended(orchestrator, "e2")).status is Status.SUCCEEDED

    assert (orchestrator.offered.sweep.saved, orchestrator.engine.bugs) == (0, 0)


@asynccontextmanager
async def _answering(hosts: ScriptedHosts) -> AsyncIterator[None]:
    answered: set[int] = set()

    async def answer() -> None:
        while True:
            await hosts.until(lambda: len(hosts.calls) > len(answered))
            for number, call in enumerate(hosts.calls):
                if number not in answered:
                    answered.add(number)
                    call.succeed()

    async with beside(answer()):
        yield


async def test_two_starts_of_one_child_are_both_looked_after(swept: Orchestrator, hosts: ScriptedHosts) -> None:
    await swept.definitions.register("default", ONE)
    with no_other_trouble():
        await swept.start(PARENT)
        running = swept.offered.owners.local("default", "e")
        assert running is not None
        await swept.until(lambda state: bool(state.open_attempts))
        swept.offered.children.start(running, "child")
        swept.offered.children.start(running, "child")
        await hosts.answer("a")

        assert (await ended(swept)).status is Status.SUCCEEDED
