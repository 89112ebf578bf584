import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from forgemesh.faults.service import ServiceUnreachable
from forgemesh.orchestrator.dispatch.call_request import Underway
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.endpoint import Health
from forgemesh.routing.scaling import Demanded
from tests.component.orchestrator.dispatching import (
    Log,
    ScriptedCatalogue,
    dispatcher_over,
    key,
    provider,
    to_interface,
)
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint, half_open, with_open_circuit


@pytest.fixture
async def hosts() -> ScriptedHosts:
    return ScriptedHosts()


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def catalogue() -> ScriptedCatalogue:
    """Nothing is published; it is looked at again after 20 ms."""
    return ScriptedCatalogue()


@pytest.fixture
async def providers(catalogue: ScriptedCatalogue) -> AsyncIterator[Providers]:
    known = Providers(catalogue, period=0.02)
    running = asyncio.create_task(known.run())
    yield known
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
async def dispatcher(hosts: ScriptedHosts, log: Log, providers: Providers) -> Dispatcher:
    return dispatcher_over(hosts, log, providers)


async def test_providers_that_are_as_good_as_one_another_take_turns(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue, log: Log
) -> None:
    catalogue.provided["shape"] = [provider("circle"), provider("square")]
    for plugin_id in ("circle", "square"):
        hosts.show(plugin_id, endpoint(f"{plugin_id}-1"))
    for number in range(4):
        dispatcher.send(to_interface(f"a{number}", "^1"))

    await hosts.call("a3")

    named = [dispatcher.explain(key(f"a{number}")) for number in range(4)]
    assert (
        sorted(one.dispatch.plugin_id for one in named if isinstance(one, Underway)) == ["circle"] * 2 + ["square"] * 2
    )
    assert log.lines == []


async def test_the_preferred_provider_is_called_as_long_as_it_can(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue
) -> None:
    catalogue.provided["shape"] = [provider("plain"), provider("fast", metadata={"gpu": "yes"})]
    hosts.show("plain", endpoint("plain-1"))
    hosts.show("fast", endpoint("fast-1", max_in_flight=2))
    for number in range(3):
        dispatcher.send(to_interface(f"a{number}", prefer={"gpu": "yes"}))

    await hosts.call("a2")

    assert [call.instance_id for call in hosts.calls] == ["fast-1", "fast-1", "plain-1"]


async def test_only_a_version_that_fulfils_the_interface_is_called(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue
) -> None:
    catalogue.provided["shape"] = [
        provider("circle", "1.0.0"),
        provider("circle", "2.0.0", interface_version="2.0.0"),
    ]
    hosts.show("circle", endpoint("old", plugin_version="1.0.0"), endpoint("new", plugin_version="2.0.0"))
    for number in range(3):
        dispatcher.send(to_interface(f"a{number}", "^2"))

    await hosts.call("a2")

    assert {call.instance_id for call in hosts.calls} == {"new"}


async def test_a_retry_goes_to_another_provider_if_there_is_one(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue
) -> None:
    catalogue.provided["shape"] = [provider("circle"), provider("square", priority=1)]
    hosts.show("square", endpoint("square-1"))
    dispatcher.send(to_interface("a", tried=frozenset({"square-1"})))
    assert (await hosts.call("a")).instance_id == "square-1"

    hosts.show("circle", endpoint("circle-1"))
    dispatcher.send(to_interface("b", tried=frozenset({"square-1"})))

    assert (await hosts.call("b")).instance_id == "circle-1"


async def test_whoever_waits_for_an_interface_is_woken_by_any_of_its_providers(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue, log: Log
) -> None:
    catalogue.provided["shape"] = [provider("circle"), provider("square")]
    hosts.show("circle", endpoint("circle-1", health=Health.NOT_SERVING))
    hosts.show("square", with_open_circuit("square-1", 1e9))
    dispatcher.send(to_interface("a", "^1"))
    await log.until("a CIRCUIT_OPEN")

    hosts.show("square", endpoint("square-1"))
    await hosts.call("a")

    assert log.lines == ["a CIRCUIT_OPEN", "a unblocked"]
    assert "'shape@^1'" in log.reasons["a"].message


async def test_whoever_waits_for_an_interface_is_woken_by_its_first_provider(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue, log: Log
) -> None:
    hosts.show("circle", endpoint("circle-1"))
    dispatcher.send(to_interface("a"))
    await log.until("a NOT_REGISTERED")

    catalogue.provided["shape"] = [provider("circle")]

    assert (await hosts.call("a")).instance_id == "circle-1"


async def test_a_registry_that_does_not_answer_takes_nobody_away(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue
) -> None:
    catalogue.provided["shape"] = [provider("circle")]
    hosts.show("circle", endpoint("circle-1"))
    dispatcher.send(to_interface("a"))
    await hosts.call("a")

    catalogue.fault = ServiceUnreachable("registry", "r:1", "it is gone")
    await catalogue.looked(catalogue.looks + 2)
    dispatcher.send(to_interface("b"))

    assert [call.path for call in hosts.calls] == ["a", "b"]


async def test_a_key_stays_with_a_provider(
    dispatcher: Dispatcher, hosts: ScriptedHosts, catalogue: ScriptedCatalogue
) -> None:
    catalogue.provided["shape"] = [provider(f"p{number}") for number in range(4)]
    for number in range(4):
        hosts.show(f"p{number}", endpoint(f"p{number}-1"), endpoint(f"p{number}-2"))
    for number in range(10):
        dispatcher.send(to_interface(f"a{number}", affinity="customer-1"))
    await hosts.call("a9")
    tried = frozenset({hosts.calls[0].instance_id})

    dispatcher.send(to_interface("again", affinity="customer-1", tried=tried))
    await hosts.call("again")

    assert len({call.instance_id for call in hosts.calls}) == 1


async def test_a_trial_call_of_any_provider_is_made_by_whoever_waits_for_the_interface(
    providers: Providers, hosts: ScriptedHosts, catalogue: ScriptedCatalogue, log: Log
) -> None:
    recorder = OutcomeRecorder()
    recorder.begins()
    dispatcher = dispatcher_over(hosts, log, providers, recorder=recorder)
    catalogue.provided["shape"] = [provider("circle"), provider("square")]
    hosts.show("circle", with_open_circuit("circle-1", 1e12))
    hosts.show("square", half_open("square-1"))
    dispatcher.send(to_interface("a", idempotent=False))
    dispatcher.send(to_interface("b", idempotent=True))
    await log.until("a CIRCUIT_OPEN", "b CIRCUIT_OPEN")
    assert recorder.demands() == {Demanded("circle", "=1.0.0"): 1, Demanded("square", "=1.0.0"): 1}

    recorder.granted("square", "square-1", Permit("t", 1, 4), 10.0, 0)

    call = await hosts.call("b")
    assert (call.instance_id, call.invocation.permit) == ("square-1", Permit("t", 1, 4))
    assert recorder.demands() == {Demanded("circle", "=1.0.0"): 1, Demanded("square", "=1.0.0"): 1}


async def test_a_call_that_must_not_be_repeated_is_no_trial_call_while_another_provider_can_take_it(
    providers: Providers, hosts: ScriptedHosts, catalogue: ScriptedCatalogue, log: Log
) -> None:
    recorder = OutcomeRecorder()
    recorder.begins()
    dispatcher = dispatcher_over(hosts, log, providers, recorder=recorder)
    catalogue.provided["shape"] = [provider("circle"), provider("square")]
    hosts.show("circle", endpoint("circle-1"))
    hosts.show("square", half_open("square-1"))
    recorder.granted("square", "square-1", Permit("t", 1, 4), 10.0, 0)
    for number in range(4):
        dispatcher.send(to_interface(f"a{number}", idempotent=False))

    await hosts.call("a3")
    dispatcher.send(to_interface("b", idempotent=True))
    await hosts.call("b")

    assert [call.instance_id for call in hosts.calls[:4]] == ["circle-1"] * 4
    assert {call.path for call in hosts.calls if call.invocation.permit is not None} <= {"b"}


async def test_a_call_for_an_interface_is_told_with_the_versions_that_provide_it(
    providers: Providers, hosts: ScriptedHosts, catalogue: ScriptedCatalogue, log: Log
) -> None:
    recorder = OutcomeRecorder()
    dispatcher = dispatcher_over(hosts, log, providers, recorder=recorder)
    catalogue.provided["shape"] = [
        provider("circle", "1.0.0"),
        provider("circle", "1.1.0"),
        provider("square", "3.0.0"),
    ]
    dispatcher.send(to_interface("a"))
    await log.until("a NOT_REGISTERED")

    assert recorder.demands() == {Demanded("circle", "=1.0.0 || =1.1.0"): 1, Demanded("square", "=3.0.0"): 1}
