"""What the balancer is told of orders that wait for instances, so that whoever can start some knows how many."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.pending_queue import MOST_DEMANDS
from forgemesh.routing.endpoint import Health
from forgemesh.routing.scaling import Demanded
from tests.component.orchestrator.dispatching import Log, dispatcher_over, order
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint, with_open_circuit


def at_work() -> tuple[Dispatcher, OutcomeRecorder, list[str]]:
    """A dispatcher that knows of no instance, what it counts, and a list that grows when that is urgent."""
    account, urgent = OutcomeRecorder(), list[str]()
    dispatcher = dispatcher_over(ScriptedHosts(), Log(), account=account)
    account.urgent.add(lambda: urgent.append("now"))
    return dispatcher, account, urgent


async def test_orders_for_a_plugin_without_instances_are_told_by_versions_and_the_first_one_at_once() -> None:
    dispatcher, account, urgent = at_work()

    dispatcher.send(order("a", "^1"))
    told_after_the_first = list(urgent)
    dispatcher.send(order("b", "^1"))
    dispatcher.send(order("c", "^2"))

    assert told_after_the_first == ["now"]
    assert account.demands() == {Demanded("p", "^1"): 2, Demanded("p", "^2"): 1}


async def test_an_order_that_runs_waits_no_more() -> None:
    account, hosts = OutcomeRecorder(), ScriptedHosts()
    dispatcher = dispatcher_over(hosts, Log(), account=account)
    dispatcher.send(order("a"))
    waiting = dict(account.demands())
    hosts.show("p", endpoint("i-1"))
    await hosts.call("a")

    assert (waiting, account.demands()) == ({Demanded("p", ""): 1}, {})


async def test_of_more_versions_than_can_be_told_only_their_plugins_are_told() -> None:
    dispatcher, account, _ = at_work()
    for number in range(MOST_DEMANDS + 1):
        dispatcher.send(order(f"s-{number}", f"^{number + 1}"))

    assert account.demands() == {Demanded("p", ""): MOST_DEMANDS + 1}


async def test_no_more_plugins_are_told_than_a_report_may_hold() -> None:
    dispatcher, account, _ = at_work()
    for number in range(MOST_DEMANDS + 1):
        dispatcher.send(order(f"s-{number}", plugin_id=f"p-{number}"))

    assert len(account.demands()) == MOST_DEMANDS


async def test_orders_behind_an_open_circuit_ask_for_one_instance_however_many_they_are() -> None:
    account, hosts = OutcomeRecorder(), ScriptedHosts()
    dispatcher = dispatcher_over(hosts, Log(), account=account)
    hosts.show("p", with_open_circuit("i-1", account.clock() + 60))
    for number in range(50):
        dispatcher.send(order(f"s-{number}"))
    behind_the_circuit = dict(account.demands())
    hosts.show("p", endpoint("i-1"))
    await hosts.call("s-49")

    assert (behind_the_circuit, account.demands()) == ({Demanded("p", ""): 1}, {})


async def test_orders_count_one_by_one_as_long_as_another_instance_may_help_them() -> None:
    account, hosts = OutcomeRecorder(), ScriptedHosts()
    dispatcher = dispatcher_over(hosts, Log(), account=account)
    hosts.show("q", endpoint("j-1", health=Health.UNREACHABLE))
    for number in range(3):
        dispatcher.send(order(f"s-{number}", plugin_id="q"))

    assert account.demands() == {Demanded("q", ""): 3}
