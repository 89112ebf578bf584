import asyncio
from collections.abc import AsyncIterator

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fold import IllegalFact
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.stores import HeldStore, failing_store

TWO_STEPS = """
name: two
steps:
  - {id: a, call: {plugin: p, operation: o}, input: {n: "${input.n}"}, retry: {initial: 1ms}}
  - {id: b, call: {plugin: p, operation: o}, input: "${steps.a.output}"}
output: "${steps.b.output}"
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


async def test_a_failed_write_suspends_and_recovery_goes_on(database: Database, hosts: ScriptedHosts) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(TWO_STEPS, {"n": 7})
    call = await hosts.call("a")
    store.failures = 1

    call.succeed({"n": 8})
    async with asyncio.timeout(PATIENCE):
        await orchestrator.suspended.wait()
    assert orchestrator.offered.owners.local("default", "e") is None
    assert [call.path for call in hosts.calls] == ["a"]
    await orchestrator.recovery.run()
    await hosts.answer("a", {"n": 9}, attempt=2)
    await hosts.answer("b")

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    kinds = [type(event.fact).__name__ for event in await orchestrator.history()]
    assert kinds[2:5] == ["ExecutionRecovered", "AttemptFailed", "AttemptStarted"]


async def test_a_write_behind_a_failed_one_is_not_kept(database: Database, hosts: ScriptedHosts) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(THREE_BRANCHES.replace("50ms", "60s"))
    calls = [await hosts.call(path) for path in ("g/a/x", "g/b/x", "g/c/x")]
    store.failures = 1

    for call in calls:
        call.succeed("first")
    async with asyncio.timeout(PATIENCE):
        await orchestrator.suspended.wait()
    await orchestrator.recovery.run()
    for call in calls:
        await hosts.answer(call.path, "second", attempt=2)

    ended = await orchestrator.ended()
    assert ended.output == Payload(b'{"a":"second","b":"second","c":"second"}')
    assert [event.sequence for event in await orchestrator.history()] == list(range(1, ended.sequence + 1))


async def test_a_start_that_waits_does_not_report_an_end_that_was_not_kept(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    starting = asyncio.create_task(orchestrator.start(TWO_STEPS, {"n": 7}, wait=PATIENCE))
    await hosts.answer("a")
    call = await hosts.call("b")
    store.failures = 1

    call.succeed()

    assert (await starting).status is Status.RUNNING


async def test_another_process_takes_up_what_is_open_and_repeats_nothing_that_ended(
    database: Database, orchestrator: Orchestrator
) -> None:
    await orchestrator.start(THREE_BRANCHES.replace("50ms", "60s"))
    for branch in ("a", "b"):
        await orchestrator.hosts.answer(f"g/{branch}/x", branch)
    await orchestrator.hosts.call("g/c/x")
    await orchestrator.until(lambda state: len(state.open_attempts) == 1)
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    successor = orchestrator_over(await store_over(database), hosts)

    await successor.recovery.run()
    await successor.recovery.run()
    await hosts.answer("g/c/x", "c", attempt=2)

    assert (await successor.ended()).output == Payload(b'{"a":"a","b":"b","c":"c"}')
    assert [call.path for call in hosts.calls] == ["g/c/x"]
    before = {span.key for span, _ in orchestrator.spans.spans}
    again = {span.key for span, position in successor.spans.spans if position == 0}
    assert before == again
    keys = [span.key for span, _ in successor.spans.spans]
    assert len(keys) == len(set(keys))


async def test_spans_that_a_collector_has_are_not_sent_again(database: Database, orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    await orchestrator.hosts.answer("a")
    await orchestrator.hosts.call("b")
    await orchestrator.store.mark_spans_sent(orchestrator.store.shard, 1)
    successor = orchestrator_over(await store_over(database), ScriptedHosts())

    await successor.recovery.run()

    assert [span.key for span, position in successor.spans.spans if position == 0] == [("attempt", "a", "1")]


async def test_recovery_leaves_alone_what_runs(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    before = orchestrator.offered.owners.local("default", "e")

    await orchestrator.recovery.run()

    assert orchestrator.offered.owners.local("default", "e") is before
    assert "ExecutionRecovered" not in [type(event.fact).__name__ for event in await orchestrator.history()]


async def test_two_recoveries_at_once_take_an_execution_up_once(database: Database, orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    successor = orchestrator_over(await store_over(database), hosts)

    await asyncio.gather(*(successor.recovery.run() for _ in range(3)))
    await hosts.answer("a", attempt=2)
    await hosts.answer("b")

    await successor.ended()
    kinds = [type(event.fact).__name__ for event in await successor.history()]
    assert kinds.count("ExecutionRecovered") == 1
    assert [call.path for call in hosts.calls] == ["a", "b"]


async def test_one_damaged_execution_does_not_keep_the_others_down(
    database: Database, orchestrator: Orchestrator
) -> None:
    for name in ("e-1", "e-2", "e-3"):
        await orchestrator.start(TWO_STEPS, {"n": 7}, execution_id=name)
        await orchestrator.hosts.call("a", execution_id=name)
    await database.write(
        lambda connection: connection.execute("UPDATE event SET body = x'00' WHERE execution = 2 AND sequence = 2")
    )
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    successor = orchestrator_over(await store_over(database), hosts)

    with pytest.raises(Exception, match="damaged"):
        await successor.recovery.run()

    for name in ("e-1", "e-3"):
        await hosts.call("a", attempt=2, execution_id=name)
    await successor.offered.sweep.run()
    assert successor.offered.sweep.swept_at


async def collected(watching: AsyncIterator[list[e.Event]]) -> list[e.Event]:
    async with asyncio.timeout(PATIENCE):
        return [event async for events in watching for event in events]


async def test_a_watcher_sees_every_event_once_however_it_comes_in(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    watchers = [asyncio.create_task(collected(orchestrator.executions.watch("default", "e", n))) for n in (0, 1, 3, 6)]
    await orchestrator.hosts.answer("a")
    late = asyncio.create_task(collected(orchestrator.executions.watch("default", "e", 1)))
    await orchestrator.hosts.answer("b")

    seen = [[event.sequence for event in await watcher] for watcher in (*watchers, late)]

    assert seen == [list(range(first, 7)) for first in (1, 1, 3, 6, 1)]
    assert await collected(orchestrator.executions.watch("default", "e", 1)) == await orchestrator.history()
    assert await collected(orchestrator.executions.watch("default", "e", 7)) == []
    assert await collected(orchestrator.executions.watch("default", "e", 2**64 - 1)) == []


async def test_a_watcher_of_a_suspended_execution_is_told_and_may_go_on_where_it_was(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(TWO_STEPS, {"n": 7})
    seen: list[int] = []

    async def watch() -> None:
        async for events in orchestrator.executions.watch("default", "e", len(seen) + 1):
            seen.extend(event.sequence for event in events)

    watching = asyncio.create_task(watch())
    call = await hosts.call("a")
    store.failures = 1
    call.succeed({})
    with pytest.raises(ExecutionSuspended):
        async with asyncio.timeout(PATIENCE):
            await watching
    await orchestrator.recovery.run()
    watching = asyncio.create_task(watch())
    await hosts.answer("a", attempt=2)
    await hosts.answer("b")
    async with asyncio.timeout(PATIENCE):
        await watching

    assert seen == list(range(1, (await orchestrator.ended()).sequence + 1))


async def test_what_no_write_is_kept_of_is_shown_as_suspended_with_the_cause(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(TWO_STEPS, {"n": 7})
    call = await hosts.call("a")
    store.failures = 1
    call.succeed({"n": 8})
    async with asyncio.timeout(PATIENCE):
        await orchestrator.suspended.wait()

    view = orchestrator.executions.view(await orchestrator.executions.get("default", "e"))
    explained = await orchestrator.executions.explain("default", "e")

    assert "disk full" in view.suspended
    assert explained.blockers[0].reason == "SUSPENDED"
    assert explained.blockers[0].message.count("it goes on by itself") == 1
    assert explained.summary.startswith("The execution is suspended: the database orchestrator.db cannot be used")
    await orchestrator.offered.sweep.run()
    assert orchestrator.engine.trouble == ""
    assert not orchestrator.executions.view(await orchestrator.executions.get("default", "e")).suspended


async def test_the_next_attempt_is_told_what_the_last_ones_said_also_after_a_crash(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = await failing_store(database)
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(TWO_STEPS, {"n": 7})
    first = await hosts.call("a")
    first.progress(0.2, "reading", {"line": 20})
    first.progress(0.4, "reading")
    first.fail(AWAY)
    second = await hosts.call("a", attempt=2)
    store.failures = 1
    second.succeed(1)
    async with asyncio.timeout(PATIENCE):
        await orchestrator.suspended.wait()

    await orchestrator.recovery.run()
    third = await hosts.call("a", attempt=3)
    third.succeed(2)
    other = await hosts.call("b")

    told = [call.invocation.details for call in (first, second, third, other)]
    assert told == [None, Payload(b'{"line": 20}'), Payload(b'{"line": 20}'), None]
    other.succeed(3)
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_turn_that_fails_on_its_way_leaves_nothing_behind(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO_STEPS, {"n": 7})
    await orchestrator.hosts.call("a")
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None

    with pytest.raises(IllegalFact):
        orchestrator.engine.turn(running, (e.SignalReceived("go", Payload(b"1")), e.ExecutionAdmitted()))

    assert orchestrator.offered.owners.local("default", "e") is None
    await orchestrator.recovery.run()
    state = await orchestrator.executions.get("default", "e")
    assert state.signals == {}
    await orchestrator.hosts.answer("a", attempt=2)
    await orchestrator.hosts.answer("b")
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_start_that_becomes_durable_while_the_process_stops_is_not_lost(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = HeldStore(await store_over(database))
    orchestrator = orchestrator_over(store, hosts)
    source = TWO_STEPS.replace("retry: {initial: 1ms}", "idempotent: false")
    starting = asyncio.create_task(orchestrator.start(source, {"n": 7}))
    await store.written.wait()
    stopping = asyncio.create_task(orchestrator.engine.stop(0.05))
    await asyncio.sleep(0)
    store.release()
    await asyncio.gather(starting, stopping)

    successor = orchestrator_over(await store_over(database), hosts)
    await successor.recovery.run()
    await hosts.answer("a", {})
    await hosts.answer("b")

    assert (await successor.ended()).status is Status.SUCCEEDED
    assert [call.invocation.attempt for call in hosts.calls] == [1, 1]
