"""Whether a call may be repeated is asked of the version that is called, and holds for that line of versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.dispatch.doubt import line_of
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.workflow.provider import OperationFacts
from tests.component.orchestrator.dispatching import provider
from tests.component.orchestrator.hosts import endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

LOST = failure_of(HostLost("i", accepted=True), retryable=True)
AWAY = Failure(Code.UNAVAILABLE, "BANK_AWAY", "try again, I did nothing", retryable=True)
CHARGE = "name: d\nsteps: [{id: a, call: {plugin: p, operation: o}, retry: {initial: 1ms}}]"
PAY = "name: d\nsteps: [{id: a, call: {interface: pay, operation: o}, retry: {initial: 1ms}}]"


@pytest.fixture
async def mesh(orchestrator: Orchestrator) -> Orchestrator:
    return orchestrator


def says(mesh: Orchestrator, version: str, idempotent: bool | None, plugin_id: str = "p") -> None:
    mesh.providers.manifests.learn(plugin_id, version, {"o": OperationFacts(idempotent)})


@pytest.fixture
async def paying(mesh: Orchestrator) -> AsyncIterator[Orchestrator]:
    """Two plugins that provide one interface, of which only `p` has an instance."""
    mesh.catalogue.provided["pay"] = [provider("p"), provider("q")]
    mesh.hosts.show("p", endpoint("p-1"))
    looking = asyncio.create_task(mesh.providers.run())
    yield mesh
    looking.cancel()


async def test_a_lost_call_of_a_version_that_says_no_is_not_repeated_whatever_was_registered(
    mesh: Orchestrator,
) -> None:
    mesh.catalogue.known["p"] = {"1.0.0": {"o": OperationFacts(True)}}
    says(mesh, "1.1.0", False)
    mesh.hosts.show("p", endpoint("new", plugin_version="1.1.0"))
    await mesh.start(CHARGE)

    (await mesh.hosts.call("a")).fail(LOST)

    await mesh.until(lambda state: state.steps["a"].status is StepStatus.IN_DOUBT)
    assert len(mesh.hosts.calls) == 1


async def test_a_lost_call_of_a_version_that_says_yes_is_repeated_whatever_was_registered(mesh: Orchestrator) -> None:
    mesh.catalogue.known["p"] = {"1.0.0": {"o": OperationFacts(False)}}
    says(mesh, "1.1.0", True)
    mesh.hosts.show("p", endpoint("new", plugin_version="1.1.0"))
    await mesh.start(CHARGE)

    (await mesh.hosts.call("a")).fail(LOST)
    await mesh.hosts.answer("a", attempt=2)

    assert (await mesh.ended()).status is Status.SUCCEEDED


@pytest.mark.parametrize(("other", "said"), [("1.1.0", False), ("2.0.0", True)])
async def test_a_lost_call_is_not_repeated_by_a_version_without_the_guarantee_but_waits(
    mesh: Orchestrator, other: str, said: bool
) -> None:
    says(mesh, "1.0.0", True)
    says(mesh, other, said)
    mesh.hosts.show("p", endpoint("old"))
    await mesh.start(CHARGE)
    lost = await mesh.hosts.call("a")
    mesh.hosts.show("p", endpoint("new", plugin_version=other))

    lost.fail(LOST)
    state = await mesh.until(lambda state: state.steps["a"].status is StepStatus.BLOCKED)

    blocked = state.steps["a"].blocked
    assert blocked is not None
    assert "an earlier attempt may have had its effect on p 1.0.0" in blocked.message
    assert len(mesh.hosts.calls) == 1
    mesh.hosts.show("p", endpoint("new", plugin_version=other), endpoint("old-again"))
    again = await mesh.hosts.call("a", attempt=2)
    assert again.instance_id == "old-again"


async def test_a_lost_call_that_waits_holds_up_no_retry_behind_it(mesh: Orchestrator) -> None:
    says(mesh, "1.0.0", True)
    says(mesh, "1.1.0", False)
    mesh.hosts.show("p", endpoint("old"))
    await mesh.start(CHARGE)
    lost = await mesh.hosts.call("a")
    mesh.hosts.show("p", endpoint("new", plugin_version="1.1.0"))
    lost.fail(LOST)
    await mesh.until(lambda state: state.steps["a"].status is StepStatus.BLOCKED)

    await mesh.start(CHARGE, execution_id="other")
    await mesh.hosts.answer("a", execution_id="other")

    assert (await mesh.ended("other")).status is Status.SUCCEEDED


async def test_a_failure_that_the_plugin_tells_is_tried_again_on_any_version(mesh: Orchestrator) -> None:
    says(mesh, "1.0.0", True)
    says(mesh, "1.1.0", False)
    mesh.hosts.show("p", endpoint("old"))
    await mesh.start(CHARGE)
    told = await mesh.hosts.call("a")
    mesh.hosts.show("p", endpoint("new", plugin_version="1.1.0"))

    told.fail(AWAY)
    await mesh.hosts.answer("a", attempt=2)

    assert (await mesh.ended()).status is Status.SUCCEEDED


async def test_a_lost_call_does_not_cross_to_another_provider_of_the_interface(paying: Orchestrator) -> None:
    both = [provider(plugin_id, operations={"o": OperationFacts(True)}) for plugin_id in ("p", "q")]
    paying.catalogue.provided["pay"] = both
    await paying.start(PAY)
    lost = await paying.hosts.call("a")
    paying.hosts.show("p")
    paying.hosts.show("q", endpoint("q-1"))

    lost.fail(LOST)
    await paying.until(lambda state: state.steps["a"].status is StepStatus.BLOCKED)

    assert len(paying.hosts.calls) == 1
    paying.hosts.show("p", endpoint("p-2"))
    assert (await paying.hosts.call("a", attempt=2)).instance_id == "p-2"


@pytest.mark.parametrize(("step", "said"), [("", None), (", idempotent: true", True), (", in_doubt: retry", True)])
async def test_a_lost_call_crosses_to_another_provider_if_nobody_says_or_the_workflow_does(
    paying: Orchestrator, step: str, said: bool | None
) -> None:
    both = [provider(plugin_id, operations={"o": OperationFacts(said)}) for plugin_id in ("p", "q")]
    paying.catalogue.provided["pay"] = both
    await paying.start(PAY.replace("1ms}}]", f"1ms}}{step}}}]"))
    lost = await paying.hosts.call("a")
    paying.hosts.show("p")
    paying.hosts.show("q", endpoint("q-1"))

    lost.fail(LOST)

    assert (await paying.hosts.call("a", attempt=2)).instance_id == "q-1"


@pytest.mark.parametrize(
    ("registered", "since", "ends"),
    [(True, False, StepStatus.IN_DOUBT), (False, True, StepStatus.IN_DOUBT), (True, True, StepStatus.RUNNING)],
)
async def test_what_was_lost_with_the_orchestrator_is_not_repeated_if_any_version_says_no(
    database: Database, mesh: Orchestrator, registered: bool, since: bool, ends: StepStatus
) -> None:
    mesh.catalogue.known["p"] = {"1.0.0": {"o": OperationFacts(registered)}}
    await mesh.start(CHARGE)
    await mesh.hosts.call("a")
    store = await store_over(database)
    following = orchestrator_over(store, mesh.hosts)
    following.catalogue.known["p"] = {
        "1.0.0": {"o": OperationFacts(registered)},
        "1.1.0": {"o": OperationFacts(since)},
    }

    await following.recovery.run()

    await following.until(lambda state: state.steps["a"].attempts == 2 or state.steps["a"].status is ends)
    assert (await following.executions.get("default", "e")).steps["a"].status is ends


async def test_an_orchestrator_goes_on_by_what_was_registered_while_the_registry_is_away(
    database: Database, mesh: Orchestrator
) -> None:
    mesh.catalogue.known["p"] = {"1.0.0": {"o": OperationFacts(False)}}
    await mesh.start(CHARGE)
    await mesh.hosts.call("a")
    store = await store_over(database)
    following = orchestrator_over(store, mesh.hosts)
    following.catalogue.fault = ServiceUnreachable("registry", "127.0.0.1:1", "nobody listens")

    await following.recovery.run()

    await following.until(lambda state: state.steps["a"].status is StepStatus.IN_DOUBT)


async def test_manifests_of_instances_that_come_are_looked_up_before_they_are_called(mesh: Orchestrator) -> None:
    mesh.catalogue.known["p"] = {"1.0.0": {"o": OperationFacts(False)}}
    looking = asyncio.create_task(mesh.providers.run())
    known = asyncio.Event()
    mesh.providers.manifests.on_change(lambda plugin_id: known.set())

    mesh.hosts.show("p", endpoint("new"))
    await known.wait()

    assert mesh.providers.manifests.of("p", "1.0.0", "o") == OperationFacts(False)
    looking.cancel()


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("1.4.2", "1"),
        ("12.0.0", "12"),
        ("0.3.1", "0.3"),
        ("1.0.0+dev.001", "1"),
        ("2.0.0-rc.1", "2"),
        ("nightly", "nightly"),
        ("", ""),
    ],
)
def test_versions_of_one_line_are_those_that_a_caret_takes(version: str, line: str) -> None:
    assert line_of(version) == line
