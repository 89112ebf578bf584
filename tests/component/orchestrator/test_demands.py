"""What the balancer is told of calls that wait for instances, so that whoever can start some knows how many."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.pending_queue import MOST_DEMANDS
from forgemesh.routing.endpoint import Health
from forgemesh.routing.scaling import Demanded
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint, with_open_circuit


def at_work() -> tuple[Dispatcher, OutcomeRecorder, list[str]]:
    """A dispatcher that knows of no instance, what it counts, and a list that grows when that is urgent."""
    recorder, urgent = OutcomeRecorder(), list[str]()
    dispatcher = dispatcher_over(ScriptedHosts(), Log(), recorder=recorder)
    recorder.urgent.add(lambda: urgent.append("now"))
    return dispatcher, recorder, urgent


async def test_calls_for_a_plugin_without_instances_are_told_by_versions_and_the_first_one_at_once() -> None:
    dispatcher, recorder, urgent = at_work()

    dispatcher.send(call_request("a", "^1"))
    told_after_the_first = list(urgent)
    dispatcher.send(call_request("b", "^1"))
    dispatcher.send(call_request("c", "^2"))

    assert told_after_the_first == ["now"]
    assert recorder.demands() == {Demanded("p", "^1"): 2, Demanded("p", "^2"): 1}


async def test_a_call_that_runs_waits_no_more() -> None:
    recorder, hosts = OutcomeRecorder(), ScriptedHosts()
    dispatcher = dispatcher_over(hosts, Log(), recorder=recorder)
    dispatcher.send(call_request("a"))
    waiting = dict(recorder.demands())
    hosts.show("p", endpoint("i-1"))
    await hosts.call("a")

    assert (waiting, recorder.demands()) == ({Demanded("p", ""): 1}, {})


async def test_of_more_versions_than_can_be_told_only_their_plugins_are_told() -> None:
    dispatcher, recorder, _ = at_work()
    for number in range(MOST_DEMANDS + 1):
        dispatcher.send(call_request(f"s-{number}", f"^{number + 1}"))

    assert recorder.demands() == {Demanded("p", ""): MOST_DEMANDS + 1}


async def test_no_more_plugins_are_told_than_a_report_may_hold() -> None:
    dispatcher, recorder, _ = at_work()
    for number in range(MOST_DEMANDS + 1):
        dispatcher.send(call_request(f"s-{number}", plugin_id=f"p-{number}"))

    assert len(recorder.demands()) == MOST_DEMANDS


async def test_calls_behind_an_open_circuit_ask_for_one_instance_however_many_they_are() -> None:
    recorder, hosts = OutcomeRecorder(), ScriptedHosts()
    dispatcher = dispatcher_over(hosts, Log(), recorder=recorder)
    hosts.show("p", with_open_circuit("i-1", recorder.clock() + 60))
    for number in range(50):
        dispatcher.send(call_request(f"s-{number}"))
    behind_the_circuit = dict(recorder.demands())
    hosts.show("p", endpoint("i-1"))
    await hosts.call("s-49")

    assert (behind_the_circuit, recorder.demands()) == ({Demanded("p", ""): 1}, {})


async def test_calls_count_one_by_one_as_long_as_another_instance_may_help_them() -> None:
    recorder, hosts = OutcomeRecorder(), ScriptedHosts()
    dispatcher = dispatcher_over(hosts, Log(), recorder=recorder)
    hosts.show("q", endpoint("j-1", health=Health.UNREACHABLE))
    for number in range(3):
        dispatcher.send(call_request(f"s-{number}", plugin_id="q"))

    assert recorder.demands() == {Demanded("q", ""): 3}
