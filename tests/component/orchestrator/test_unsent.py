"""What was never sent was never tried: it is taken up as it was, by whoever comes next."""

import asyncio
from collections.abc import Callable

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.faults.service import StoreUnavailable
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure, failure_of
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over, key
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.stores import HeldStore, failing_store

CALL = "call: {plugin: p, operation: o}"
ONE = f"name: one\nsteps: [{{id: a, {CALL}, EXTRA}}]\noutput: '${{steps.a.output}}'"
UNDOING = f"""
name: undoing
steps:
  - {{id: a, {CALL}, compensate: {{plugin: gone, operation: o}}}}
  - {{id: b, {CALL}, retry: {{max_attempts: 1}}}}
"""
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")
RESTARTS = 8


def source(extra: str = "retry: {max_attempts: 2}") -> str:
    return ONE.replace("EXTRA", extra)


def nobody() -> ScriptedHosts:
    hosts = ScriptedHosts()
    hosts.show("p")
    return hosts


def blocked(path: str) -> Callable[[ExecutionState], bool]:
    return lambda state: path in state.steps and state.steps[path].status is StepStatus.BLOCKED


async def facts(orchestrator: Orchestrator) -> list[e.Fact]:
    return [event.fact for event in await orchestrator.history()]


async def failures(orchestrator: Orchestrator) -> list[e.AttemptFailed]:
    return [fact for fact in await facts(orchestrator) if isinstance(fact, e.AttemptFailed)]


async def successor(database: Database, hosts: ScriptedHosts, number: int = 2) -> Orchestrator:
    """Another process takes up what is on disk."""
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.recovery.run()
    return orchestrator


async def durable(orchestrator: Orchestrator) -> None:
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    await running.durable()


@pytest.mark.parametrize("orderly", [True, False])
@pytest.mark.parametrize("extra", ["retry: {max_attempts: 2}", "idempotent: false", "idempotent: true"])
async def test_a_call_that_waits_for_its_first_instance_outlives_any_number_of_restarts(
    database: Database, orderly: bool, extra: str
) -> None:
    orchestrator = orchestrator_over(await store_over(database), nobody())
    await orchestrator.start(source(extra))
    await orchestrator.until(blocked("a"))

    for number in range(2, 2 + RESTARTS):
        if orderly:
            await orchestrator.engine.stop(0)
        orchestrator = await successor(database, nobody(), number)
        assert (await orchestrator.until(blocked("a"))).steps["a"].attempts == 1
        await durable(orchestrator)
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    last = await successor(database, hosts, 20)
    await hosts.answer("a", 7)

    assert (await last.ended()).status is Status.SUCCEEDED
    assert await failures(last) == []
    assert sum(isinstance(fact, e.StepBlocked) for fact in await facts(last)) == 1
    assert len(hosts.calls) == 1


async def test_an_undoing_that_waits_for_its_instance_outlives_any_number_of_restarts(database: Database) -> None:
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    hosts.show("gone")
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.start(UNDOING)
    await hosts.answer("a")
    (await hosts.call("b")).fail(BROKEN)
    await orchestrator.until(blocked("a:compensate"))

    for number in range(2, 2 + RESTARTS):
        await orchestrator.engine.stop(0)
        hosts.show("gone")
        orchestrator = await successor(database, hosts, number)
        await orchestrator.until(blocked("a:compensate"))
    hosts.show("gone", endpoint("i-9"))
    await hosts.answer("a:compensate")

    assert (await orchestrator.ended()).status is Status.COMPENSATED


async def test_a_call_that_waits_for_room_is_put_on_record_by_an_orderly_stop(
    database: Database, hosts: ScriptedHosts
) -> None:
    for link in hosts.links("p").values():
        link.has_room = False
    hosts.tell("p")
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.start(source("idempotent: false"))
    await durable(orchestrator)

    await orchestrator.engine.stop(0)
    other = ScriptedHosts()
    other.show("p", endpoint("i-1"))
    second = await successor(database, other)
    await other.answer("a", 7)

    assert (await second.ended()).status is Status.SUCCEEDED
    reasons = [fact.reason for fact in await facts(second) if isinstance(fact, e.StepBlocked)]
    assert reasons in (["SHUTTING_DOWN"], ["ALL_FULL"])
    assert await failures(second) == []


async def test_what_follows_from_an_answer_while_it_stops_is_not_sent_and_not_lost(
    database: Database, hosts: ScriptedHosts
) -> None:
    two = f"name: two\nsteps: [{{id: a, {CALL}}}, {{id: b, {CALL}, idempotent: false}}]"
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.start(two)
    call = await hosts.call("a")

    stopping = asyncio.create_task(orchestrator.engine.stop(PATIENCE))
    await asyncio.sleep(0)
    call.succeed()
    await stopping
    second = await successor(database, hosts)
    await hosts.answer("b")

    assert (await second.ended()).status is Status.SUCCEEDED
    assert [(call.path, call.invocation.attempt) for call in hosts.calls] == [("a", 1), ("b", 1)]


async def test_a_call_that_still_waits_in_its_link_when_it_stops_was_not_sent(
    database: Database, hosts: ScriptedHosts
) -> None:
    lost = failure_of(HostLost("i-1", accepted=False), retryable=True)
    for link in hosts.links("p").values():
        link.unsent.add(1)
        link.on_cancel = lambda call: call.fail(lost, accepted=False, sent=False)
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.start(source("idempotent: false"))
    await hosts.call("a")

    await orchestrator.engine.stop(0)
    other = ScriptedHosts()
    other.show("p", endpoint("i-1"))
    second = await successor(database, other)
    await other.answer("a", 7)

    assert (await second.ended()).status is Status.SUCCEEDED
    assert await failures(second) == []


async def test_a_call_leaves_only_once_it_is_on_record_that_it_is_not_blocked_any_more(database: Database) -> None:
    hosts = nobody()
    store = HeldStore(await store_over(database))
    store.release()
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(source("idempotent: false"))
    await orchestrator.until(blocked("a"))
    store.hold()

    hosts.show("p", endpoint("i-1"))
    async with asyncio.timeout(PATIENCE):
        await store.written.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert hosts.calls == []
    store.release()
    await hosts.answer("a", 7)

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_process_that_dies_behind_that_record_leaves_a_call_in_doubt(database: Database) -> None:
    hosts = nobody()
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.start(source("idempotent: false"))
    await orchestrator.until(blocked("a"))
    hosts.show("p", endpoint("i-1"))
    await hosts.call("a")

    other = ScriptedHosts()
    other.show("p", endpoint("i-1"))
    second = await successor(database, other)

    await second.until(lambda state: state.steps["a"].status is StepStatus.IN_DOUBT)
    assert other.calls == []


@pytest.mark.parametrize("command", ["cancel", "pause"])
async def test_what_was_stopped_before_it_was_sent_is_not_sent_by_the_next_process(
    database: Database, command: str
) -> None:
    store = HeldStore(await store_over(database))
    store.release()
    orchestrator = orchestrator_over(store, nobody())
    await orchestrator.start(source("idempotent: false"))
    await orchestrator.until(blocked("a"))
    store.hold()
    controls = orchestrator.offered.controls
    asked = (
        controls.cancel("default", "e", "me", "")
        if command == "cancel"
        else controls.pause("default", "e", e.PauseRequested())
    )
    asking = asyncio.create_task(asked)
    await store.written.wait()  # it dies before it could act on that

    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    second = await successor(database, hosts)
    if command == "cancel":
        assert (await second.ended()).status is Status.CANCELLED
    else:
        await second.until(lambda state: state.status is Status.PAUSED)
        await second.offered.controls.resume("default", "e", "", "me")
        await hosts.answer("a", 7, attempt=2)
        assert (await second.ended()).status is Status.SUCCEEDED
    assert [call.invocation.attempt for call in hosts.calls] == ([] if command == "cancel" else [2])
    asking.cancel()


async def test_what_waits_when_the_store_fails_costs_no_attempt(database: Database, hosts: ScriptedHosts) -> None:
    store = await failing_store(database)
    full = ScriptedHosts()
    full.show("p", endpoint("i-1"))
    full.show("q", endpoint("i-2"))
    for link in full.links("p").values():
        link.has_room = False
    orchestrator = orchestrator_over(store, full)
    both = f"""
name: both
steps:
  - id: g
    parallel:
      branches:
        a: [{{id: x, {CALL}, idempotent: false}}]
        b: [{{id: x, call: {{plugin: q, operation: o}}}}]
"""
    await orchestrator.start(both)
    call = await full.call("g/b/x")
    store.failures = 1
    call.succeed()
    async with asyncio.timeout(PATIENCE):
        await orchestrator.suspended.wait()

    for link in full.links("p").values():
        link.has_room = True
    full.tell("p")
    await orchestrator.recovery.run()
    await full.answer("g/a/x")
    await full.answer("g/b/x", attempt=2)

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    assert [call.invocation.attempt for call in full.calls if call.path == "g/a/x"] == [1]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_call_of_an_attempt_whose_end_could_not_be_written_is_made_once(
    database: Database, waits: bool
) -> None:
    """What memory knew of the end is void, and with it every call that it had, also of attempts that it had ended."""
    store, hosts = await failing_store(database), ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    (link,) = hosts.links("p").values()
    link.has_room = not waits
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(source(f"idempotent: {str(not waits).lower()}"))
    if not waits:
        await hosts.call("a")

    store.failures = 1
    with pytest.raises(StoreUnavailable):
        await orchestrator.offered.controls.terminate("default", "e", "", "")
    await orchestrator.suspended.wait()
    link.has_room = True
    hosts.tell("p")
    assert [call.cancelled for call in hosts.calls] == ([] if waits else [True])

    await orchestrator.recovery.run()
    (await hosts.call("a", attempt=1 if waits else 2)).succeed()

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    assert [call.invocation.attempt for call in hosts.calls] == ([1] if waits else [1, 2])


async def test_those_on_record_as_blocked_leave_in_their_order_and_only_as_many_as_there_is_room_for() -> None:
    hosts, log = nobody(), Log()
    log.held = []
    dispatcher = dispatcher_over(hosts, log)
    names = [f"s{number}" for number in range(40)]
    for name in names:
        dispatcher.send(call_request(name))
    assert all(f"{name} NONE_HEALTHY" in log.lines or f"{name} NOT_REGISTERED" in log.lines for name in names)

    hosts.show("p", endpoint("i-1"))
    await log.until("s0 unblocked")
    assert hosts.calls == []
    while held := log.held.copy():
        log.held.clear()
        for order_key, attempt in held:
            dispatcher.released(order_key, attempt)
        for _ in range(5):
            await asyncio.sleep(0)

    assert [call.path for call in hosts.calls] == names
    assert sum(line.endswith("unblocked") for line in log.lines) == len(names)


@pytest.mark.parametrize("end", ["cancel", "forget"])
async def test_who_is_taken_back_while_it_is_about_to_leave_holds_up_nobody_behind_it(end: str) -> None:
    hosts, log = nobody(), Log()
    dispatcher = dispatcher_over(hosts, log)
    log.held = []
    for path in "abc":
        dispatcher.send(call_request(path))
    hosts.show("p", endpoint("i-1"))
    await log.until("a unblocked")

    log.held = None
    getattr(dispatcher, end)(key("a"))

    await hosts.call("c")
    assert [call.path for call in hosts.calls] == ["b", "c"]
