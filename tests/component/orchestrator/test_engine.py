import asyncio
import json

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.faults.workflow import ExecutionExists, ExecutionInputInvalid, HostLost
from forgemesh.orchestrator.dispatch import dispatcher
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.execution.trace.spans import span_id, span_owner
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts, endpoint, with_open_circuit
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over
from tests.component.orchestrator.stores import held_store
from tests.unit.orchestrator.history_model import HistoryModel

TWO_STEPS = """
name: two
steps:
  - {id: a, call: {plugin: p, operation: o}, input: {n: "${input.n}"}, retry: {initial: 1ms}}
  - {id: b, call: {plugin: p, operation: o}, input: "${steps.a.output}"}
output: "${steps.b.output}"
"""
ONE_STEP = """
name: one
steps: [{id: a, call: {plugin: p, operation: o}}]
output: "${steps.a.output}"
"""
THREE_BRANCHES = """
name: three
steps:
  - id: g
    parallel:
      branches:
        a: [{id: x, call: {plugin: p, operation: o}, timeouts: {start_to_close: 50ms}, retry: {max_attempts: 1}}]
        b: [{id: x, call: {plugin: p, operation: o}}]
        c: [{id: x, call: {plugin: p, operation: o}}]
output: "${steps.g.output}"
"""
AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")


async def test_an_execution_runs_from_its_start_to_its_end(orchestrator: Orchestrator) -> None:
    status = (await orchestrator.start(TWO_STEPS, {"n": 7})).status
    await orchestrator.hosts.answer("a", {"n": 8})
    await orchestrator.hosts.answer("b", [9])

    ended = await orchestrator.ended()

    assert status is Status.RUNNING
    assert ended.status is Status.SUCCEEDED
    assert ended.output == Payload(b"[9]")
    assert [call.invocation.input.data for call in orchestrator.hosts.calls] == [b'{"n":7}', b'{"n": 8}']
    ledger = HistoryModel(ended.definition)
    for event in await orchestrator.history():
        ledger.enter(event)
    assert ledger.over


async def test_an_invocation_says_what_a_plugin_needs_to_know(orchestrator: Orchestrator) -> None:
    started = await orchestrator.start(TWO_STEPS, {"n": 7})

    invocation = (await orchestrator.hosts.call("a")).invocation

    assert started.started is not None
    run_id = started.started.run_id
    own = span_id(span_owner(started.started, "e"), ("attempt", "a", "1"))
    assert invocation.traceparent == f"00-{started.started.trace_id.hex()}-{own.hex()}-01"
    assert invocation.idempotency_key == f"default/e@{run_id}/a"
    assert (invocation.attempt, invocation.operation) == (1, "o")
    assert (invocation.namespace, invocation.execution_id, invocation.step_path) == ("default", "e", "a")
    assert invocation.remaining == 60.0


async def test_spans_are_exported_with_the_place_of_their_event(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    await orchestrator.hosts.answer("a")
    await orchestrator.hosts.answer("b")

    await orchestrator.ended()

    assert [(span.key[0], position) for span, position in orchestrator.spans.spans] == [
        ("start", 1),
        ("attempt", 3),
        ("attempt", 5),
        ("run", 6),
    ]


async def test_nothing_is_sent_before_it_is_durable(database: Database, hosts: ScriptedHosts) -> None:
    store = await held_store(database)
    orchestrator = orchestrator_over(store, hosts)
    starting = asyncio.create_task(orchestrator.start(TWO_STEPS, {"n": 7}))
    async with asyncio.timeout(PATIENCE):
        await store.written.wait()

    assert hosts.calls == []
    assert not starting.done()
    store.release()
    call = await hosts.call("a")
    await starting

    store.hold()
    call.succeed({})
    async with asyncio.timeout(PATIENCE):
        await store.written.wait()
    assert [call.path for call in hosts.calls] == ["a"]
    store.release()
    await hosts.call("b")


async def test_an_execution_goes_on_though_its_caller_has_gone(database: Database, hosts: ScriptedHosts) -> None:
    store = await held_store(database)
    orchestrator = orchestrator_over(store, hosts)
    starting = asyncio.create_task(orchestrator.start(TWO_STEPS, {"n": 7}))
    async with asyncio.timeout(PATIENCE):
        await store.written.wait()

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    store.release()
    await hosts.answer("a")
    await hosts.answer("b")

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_what_a_start_answers_is_durable(store_of_nobody: Orchestrator) -> None:
    started = await store_of_nobody.start(TWO_STEPS, {"n": 7})

    assert started.sequence == 2
    blocked = await store_of_nobody.until(lambda state: state.sequence == 3)
    assert blocked.steps["a"].status is StepStatus.BLOCKED


@pytest.fixture
async def store_of_nobody(orchestrator: Orchestrator) -> Orchestrator:
    """No instance of any plugin is there."""
    orchestrator.hosts.show("p")
    return orchestrator


async def test_a_step_that_no_instance_may_take_waits_for_one(store_of_nobody: Orchestrator) -> None:
    hosts = store_of_nobody.hosts
    await store_of_nobody.start(TWO_STEPS, {"n": 7})
    blocked = await store_of_nobody.until(lambda state: state.steps["a"].status is StepStatus.BLOCKED)
    assert blocked.steps["a"].blocked is not None
    assert blocked.steps["a"].blocked.reason == "NOT_REGISTERED"

    hosts.show("p", endpoint("i-9"))
    call = await hosts.call("a")

    assert call.instance_id == "i-9"
    assert call.invocation.attempt == 1
    running = await store_of_nobody.until(lambda state: state.steps["a"].status is StepStatus.RUNNING)
    assert running.steps["a"].attempts == 1


async def test_a_retry_goes_to_another_instance(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    first = await orchestrator.hosts.call("a")

    first.fail(AWAY)
    second = await orchestrator.hosts.call("a", attempt=2)

    assert {first.instance_id, second.instance_id} == {"i-1", "i-2"}
    assert second.invocation.input == first.invocation.input
    assert second.invocation.idempotency_key == first.invocation.idempotency_key


async def test_a_call_that_ends_every_host_it_reaches_ends_no_more_than_it_has_tries(
    orchestrator: Orchestrator,
) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    for attempt in (1, 2):
        (await orchestrator.hosts.call("a", attempt)).fail(failure_of(HostLost("i", accepted=True), retryable=True))

    call = await orchestrator.hosts.call("a", 3)
    call.fail(failure_of(HostLost("i", accepted=True), retryable=True), accepted=False)

    ended = await orchestrator.ended()
    failures = [event.fact for event in await orchestrator.history() if isinstance(event.fact, e.AttemptFailed)]
    assert ended.failure is not None
    assert ended.failure.reason == "HOST_LOST"
    assert [fact.dispatch is not None and fact.dispatch.accepted for fact in failures] == [True, True, False]


async def test_the_first_failure_takes_back_what_runs_beside_it(orchestrator: Orchestrator) -> None:
    await orchestrator.start(THREE_BRANCHES)
    calls = {path: await orchestrator.hosts.call(path) for path in ("g/a/x", "g/b/x", "g/c/x")}

    calls["g/b/x"].fail(BROKEN)
    await orchestrator.hosts.until(lambda: calls["g/a/x"].cancelled and calls["g/c/x"].cancelled)
    calls["g/a/x"].succeed(1)
    calls["g/c/x"].fail(Failure(Code.CANCELLED, "CANCELLED", "as you wish"))

    ended = await orchestrator.ended()
    assert {path: step.status.value for path, step in ended.steps.items()} == {
        "g": "FAILED",
        "g/a/x": "SUCCEEDED",
        "g/b/x": "FAILED",
        "g/c/x": "CANCELLED",
    }


async def test_a_call_that_does_not_heed_its_cancellation_is_given_up(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "CANCEL_GRACE", 0.01)
    await orchestrator.start(THREE_BRANCHES.replace("50ms", "60s"))
    calls = {path: await orchestrator.hosts.call(path) for path in ("g/a/x", "g/b/x", "g/c/x")}

    calls["g/b/x"].fail(BROKEN)
    ended = await orchestrator.ended()
    calls["g/a/x"].succeed("late")

    assert ended.steps["g/a/x"].status is StepStatus.CANCELLED
    assert (await orchestrator.ended()).sequence == ended.sequence


async def test_a_try_that_takes_too_long_says_so_even_if_its_link_calls_it_lost(orchestrator: Orchestrator) -> None:
    lost = failure_of(HostLost("i", accepted=False), retryable=True)
    for link in orchestrator.hosts.links("p").values():
        link.on_cancel = lambda call: call.fail(lost)
    await orchestrator.start(THREE_BRANCHES)

    ended = await orchestrator.ended()

    assert ended.failure is not None
    assert ended.failure.reason == "START_TO_CLOSE_TIMEOUT"
    assert (await orchestrator.hosts.call("g/a/x")).cancelled


async def test_the_timeout_of_an_execution_ends_it(orchestrator: Orchestrator) -> None:
    for link in orchestrator.hosts.links("p").values():
        link.on_cancel = lambda call: call.fail(Failure(Code.CANCELLED, "CANCELLED", "as you wish"))
    await orchestrator.start(TWO_STEPS.replace("steps:", "timeout: 40ms\nsteps:", 1), {"n": 1})
    call = await orchestrator.hosts.call("a")

    ended = await orchestrator.ended()

    assert ended.failure is not None
    assert ended.failure.reason == "EXECUTION_TIMEOUT"
    assert call.invocation.remaining <= 0.04


async def test_a_start_that_waits_answers_with_the_end(orchestrator: Orchestrator) -> None:
    starting = asyncio.create_task(orchestrator.start(TWO_STEPS, {"n": 7}, wait=PATIENCE))
    await orchestrator.hosts.answer("a")
    await orchestrator.hosts.answer("b", 1)

    state = await starting

    assert state.output == Payload(b"1")


async def test_a_start_that_has_waited_long_enough_answers_with_what_there_is(orchestrator: Orchestrator) -> None:
    state = await orchestrator.start(TWO_STEPS, {"n": 7}, wait=0.01)

    assert state.status is Status.RUNNING
    assert state.sequence == 2


async def test_a_repeated_request_gets_its_answer_whatever_has_changed_since(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7}, version="", request_id="r")
    stricter = TWO_STEPS.replace("steps:", "version: 9.0.0\ninput: {other: string}\nsteps:", 1)
    await orchestrator.definitions.register("default", stricter)
    request = StartRequest(
        namespace="default",
        workflow="two",
        version="",
        execution_id="e",
        request_id="r",
        input=Payload(json.dumps({"n": 7}).encode()),
    )

    state, created = await orchestrator.offered.starts.start(request)

    assert (state.execution_id, state.definition.version.startswith("0.0.0+"), created) == ("e", True, False)
    with pytest.raises(ExecutionInputInvalid):
        await orchestrator.offered.starts.start(
            StartRequest(
                namespace="default", workflow="two", version="", execution_id="", request_id="r2", input=request.input
            )
        )


async def test_a_workflow_that_ends_in_its_first_turn_is_never_open(orchestrator: Orchestrator) -> None:
    skipped = "name: s\nsteps:\n  - {id: a, no_match: skip, switch: [{when: 'false', steps: [%s]}]}\n"
    step = "{id: b, call: {plugin: p, operation: o}}"

    started = await orchestrator.start(skipped % step, wait=1.0)

    assert started.status is Status.SUCCEEDED
    assert orchestrator.offered.owners.local("default", "e") is None
    assert await orchestrator.store.open_executions({SOLE}) == []
    with pytest.raises(ExecutionExists):
        await orchestrator.start(skipped % step)


async def test_an_open_circuit_says_when_it_may_close(orchestrator: Orchestrator) -> None:
    until = asyncio.get_running_loop().time() + 30.0
    orchestrator.hosts.show("p", with_open_circuit("i-1", until), with_open_circuit("i-2", until + 10))
    await orchestrator.start(TWO_STEPS, {"n": 7})

    blocked = await orchestrator.until(lambda state: state.steps["a"].blocked is not None)

    assert blocked.steps["a"].blocked is not None
    assert blocked.steps["a"].blocked.reason == "CIRCUIT_OPEN"
    due = float(blocked.steps["a"].blocked.message.rpartition(" in ")[2].removesuffix(" s"))
    assert 25 < due <= 30


async def test_an_execution_that_gets_the_id_of_another_is_not_given_its_answers(orchestrator: Orchestrator) -> None:
    await orchestrator.start(ONE_STEP)
    old = await orchestrator.hosts.call("a")
    await orchestrator.offered.controls.terminate("default", "e", "me", "")
    await orchestrator.start(ONE_STEP, reuse=IdReuse.ALLOW_DUPLICATE)
    await orchestrator.hosts.until(lambda: len(orchestrator.hosts.calls) == 2)
    new = orchestrator.hosts.calls[1]
    old.succeed("old")
    assert (await orchestrator.executions.get("default", "e")).status is Status.RUNNING
    new.succeed("new")

    ended = await orchestrator.ended()

    assert ended.output == Payload(b'"new"')
    assert not [link for link in orchestrator.hosts.links("p").values() if link.in_flight]
    assert old.invocation.idempotency_key != new.invocation.idempotency_key
