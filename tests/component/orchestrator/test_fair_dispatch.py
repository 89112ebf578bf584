import asyncio

import pytest

from forgemesh.orchestrator.dispatch import pending_queue
from forgemesh.orchestrator.dispatch.call_request import Underway, Waiting
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over, key
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint


@pytest.fixture
async def hosts() -> ScriptedHosts:
    return ScriptedHosts()


@pytest.fixture
async def log() -> Log:
    return Log()


async def served_one_by_one(hosts: ScriptedHosts, count: int) -> list[str]:
    """Answer each call once it has come; the execution and path of each."""
    for number in range(count):
        await hosts.until(lambda number=number: len(hosts.calls) > number)  # type: ignore[misc]
        hosts.calls[number].succeed()
    return [f"{call.invocation.execution_id}/{call.path}" for call in hosts.calls]


async def test_an_execution_with_a_thousand_branches_does_not_starve_another(hosts: ScriptedHosts, log: Log) -> None:
    dispatcher = dispatcher_over(hosts, log)
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    for number in range(1000):
        dispatcher.send(call_request(f"a{number}", execution_id="large"))
    for number in range(3):
        dispatcher.send(call_request(f"b{number}", "^1", execution_id="small"))

    served = await served_one_by_one(hosts, 8)

    assert served[:7] == [
        "large/a0",
        "large/a1",
        "small/b0",
        "large/a2",
        "small/b1",
        "large/a3",
        "small/b2",
    ]


async def test_a_higher_priority_goes_before_what_came_earlier(hosts: ScriptedHosts, log: Log) -> None:
    dispatcher = dispatcher_over(hosts, log)
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    for path, priority in (("first", 0), ("usual", 0), ("low", -1), ("high", 3)):
        dispatcher.send(call_request(path, priority=priority))

    served = await served_one_by_one(hosts, 4)

    assert served == ["e/first", "e/high", "e/usual", "e/low"]


async def test_no_more_calls_are_in_flight_than_the_process_may_have(hosts: ScriptedHosts, log: Log) -> None:
    dispatcher = dispatcher_over(hosts, log, max_in_flight=2)
    for plugin_id in "pqr":
        hosts.show(plugin_id, endpoint(f"{plugin_id}-1"))
    for number in range(4):
        dispatcher.send(call_request(f"p{number}", execution_id="large"))
    dispatcher.send(call_request("q0", plugin_id="q", execution_id="e2"))
    dispatcher.send(call_request("r0", plugin_id="r", execution_id="e3", priority=1))
    most = 0
    for number in range(6):
        await hosts.until(lambda number=number: len(hosts.calls) > number)  # type: ignore[misc]
        most = max(most, dispatcher.in_flight)
        hosts.calls[number].succeed()

    assert most == 2
    assert [call.path for call in hosts.calls][:3] == ["p0", "p1", "r0"]
    assert {call.path for call in hosts.calls} == {"p0", "p1", "p2", "p3", "q0", "r0"}
    assert dispatcher.in_flight == 0
    assert set(log.lines) == {f"{path} answered" for path in log.answers}


async def test_a_process_that_stays_full_says_so_and_what_may_be_done(
    hosts: ScriptedHosts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_queue, "FULL_NOTICE", 0.02)
    dispatcher = dispatcher_over(hosts, log, max_in_flight=1)
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a"))
    dispatcher.send(call_request("b"))

    await log.until("b PROCESS_FULL")

    waiting = dispatcher.explain(key("b"))
    assert isinstance(waiting, Waiting)
    assert "1 calls in flight" in waiting.why.message
    assert "max_in_flight" in waiting.why.message
    dispatcher.forget(key("a"))
    await hosts.call("b")
    assert log.lines[-1] == "b unblocked"


async def test_what_waits_for_a_broken_plugin_takes_no_place_of_the_process(hosts: ScriptedHosts, log: Log) -> None:
    dispatcher = dispatcher_over(hosts, log, max_in_flight=1)
    hosts.show("q", endpoint("i-1"))
    for number in range(10):
        dispatcher.send(call_request(f"a{number}", plugin_id="nobody"))

    dispatcher.send(call_request("b", plugin_id="q"))

    assert [call.path for call in hosts.calls] == ["b"]


async def test_plugins_that_wait_for_a_full_process_take_turns(hosts: ScriptedHosts, log: Log) -> None:
    ticks = iter(range(1, 10_000))
    dispatcher: Dispatcher = dispatcher_over(hosts, log, max_in_flight=1)
    dispatcher._pending.clock = lambda: next(ticks) * 1_000_000_000
    for plugin_id in "pqr":
        hosts.show(plugin_id, endpoint(f"{plugin_id}-1"))
    for plugin_id, count in (("p", 5), ("q", 2), ("r", 2)):
        for number in range(count):
            dispatcher.send(call_request(f"{plugin_id}{number}", plugin_id=plugin_id))

    served = await served_one_by_one(hosts, 9)

    assert served[:7] == ["e/p0", "e/p1", "e/q0", "e/r0", "e/p2", "e/q1", "e/r1"]


async def test_a_key_goes_where_it_went_before(hosts: ScriptedHosts, log: Log) -> None:
    dispatcher = dispatcher_over(hosts, log)
    hosts.show("p", *(endpoint(f"i-{number}") for number in range(4)))
    for number in range(20):
        dispatcher.send(call_request(f"a{number}", affinity=f"customer-{number % 2}"))
        await asyncio.sleep(0)

    homes = {number: {call.instance_id for call in hosts.calls[number::2]} for number in (0, 1)}

    assert [len(home) for home in homes.values()] == [1, 1]
    dispatcher.send(call_request("b", affinity="customer-0"))
    sent = dispatcher.explain(key("b"))
    assert isinstance(sent, Underway)
    assert (sent.dispatch.policy, {sent.dispatch.instance_id}) == ("affinity", homes[0])
