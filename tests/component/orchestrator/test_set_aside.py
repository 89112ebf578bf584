"""An execution that keeps orchestrators from serving is not taken up again; it is seen, and can be ended."""

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.control import ExecutionTerminated
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.execution.engine.turn_marker import ALLOWED, LENGTH, TurnMarker
from forgemesh.orchestrator.execution.state import Status
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

ONE = "name: one\nsteps: [{id: a, call: {plugin: p, operation: o}}]"
PARENT = """
name: parent
steps: [{id: child, workflow: {name: one}}]
"""


async def successor(database: Database, hosts: ScriptedHosts, number: int, slots: list[int]) -> Orchestrator:
    """Another process takes up what is on disk."""
    orchestrator = orchestrator_over(await store_over(database), hosts, marker=TurnMarker(slots))
    await orchestrator.recovery.run()
    return orchestrator


async def hung(orchestrator: Orchestrator, slots: list[int], execution_id: str = "e") -> list[int]:
    """What the process leaves behind that is killed in a turn of the execution."""
    running = orchestrator.offered.owners.local("default", execution_id)
    key = running.key if running is not None else (await orchestrator.executions.row("default", execution_id)).key
    return [key, *slots[1:]]


async def set_aside(database: Database, hosts: ScriptedHosts) -> Orchestrator:
    """
    "e" runs, and two processes do not come back from it.

    The first is at rest before the second comes: stores over one database share transactions, and processes do not.
    """
    hosts.show("p", endpoint("i-1"))
    slots = [0] * LENGTH
    orchestrator = orchestrator_over(await store_over(database), hosts, marker=TurnMarker(slots))
    await orchestrator.start(ONE)
    await orchestrator.start(ONE, execution_id="innocent")
    await hosts.call("a", execution_id="e")
    await hosts.call("a", execution_id="innocent")
    key = (await orchestrator.executions.row("default", "e")).key
    for _ in range(ALLOWED):
        slots[0] = key
        TurnMarker(slots)
    return await successor(database, hosts, 2, slots)


async def test_it_is_not_taken_up_and_says_why_and_the_others_go_on(database: Database, hosts: ScriptedHosts) -> None:
    orchestrator = await set_aside(database, hosts)

    assert orchestrator.offered.owners.local("default", "e") is None
    assert orchestrator.offered.owners.local("default", "innocent") is not None
    state = await orchestrator.executions.get("default", "e")
    assert state.status is Status.RUNNING
    assert "2 orchestrators in a row ended" in orchestrator.executions.view(state).suspended
    (blocker, *_) = (await orchestrator.executions.explain("default", "e")).blockers
    assert blocker.reason == "SUSPENDED"
    assert "end it by `forgemesh execution terminate e`" in blocker.message


async def test_what_is_asked_of_it_is_refused_with_the_reason(database: Database, hosts: ScriptedHosts) -> None:
    orchestrator = await set_aside(database, hosts)

    with pytest.raises(ExecutionSuspended, match="is set aside: 2 orchestrators in a row ended"):
        await orchestrator.offered.controls.cancel("default", "e", "me", "")


async def test_it_can_be_terminated_and_stays_ended(database: Database, hosts: ScriptedHosts) -> None:
    orchestrator = await set_aside(database, hosts)

    state = await orchestrator.offered.controls.terminate("default", "e", "me", "it hangs")

    assert state.status is Status.TERMINATED
    assert state.failure is not None
    assert state.failure.reason == ExecutionTerminated.reason
    assert (await orchestrator.offered.controls.terminate("default", "e", "me", "it hangs")).status is Status.TERMINATED
    await orchestrator.recovery.run()
    assert ("default", "e") not in orchestrator.offered.open_executions.suspended
    assert orchestrator.executions.view(state).suspended == ""


async def test_the_sweep_leaves_it_alone(database: Database, hosts: ScriptedHosts) -> None:
    orchestrator = await set_aside(database, hosts)

    for _ in range(3):
        await orchestrator.recovery.run()

    assert orchestrator.offered.owners.local("default", "e") is None
    assert orchestrator.offered.open_executions.suspended == {("default", "e")}


async def test_one_loss_is_nobodys_fault(database: Database, hosts: ScriptedHosts) -> None:
    hosts.show("p", endpoint("i-1"))
    slots = [0] * LENGTH
    first = orchestrator_over(await store_over(database), hosts, marker=TurnMarker(slots))
    await first.start(ONE)
    await hosts.call("a")
    for number in range(2, 8):
        slots = await hung(first, slots)
        first = await successor(database, hosts, number, slots)

    assert first.offered.owners.local("default", "e") is not None


async def test_a_suspended_parent_is_ended_with_its_children(database: Database, hosts: ScriptedHosts) -> None:
    hosts.show("p", endpoint("i-1"))
    slots = [0] * LENGTH
    first = orchestrator_over(await store_over(database), hosts, marker=TurnMarker(slots))
    await first.definitions.register("default", ONE)
    await first.start(PARENT)
    child = (await hosts.call("a")).invocation.execution_id
    key = (await first.executions.row("default", "e")).key
    for _ in range(ALLOWED):
        slots[0] = key
        TurnMarker(slots)
    second = await successor(database, hosts, 2, slots)
    call = await hosts.call("a", 2)

    await second.offered.controls.terminate("default", "e", "me", "")

    await hosts.until(lambda: call.cancelled)
    call.succeed()
    assert (await second.ended(child)).status is Status.CANCELLED


async def test_a_termination_that_is_refused_leaves_it_as_it_was(database: Database, hosts: ScriptedHosts) -> None:
    orchestrator = await set_aside(database, hosts)
    state = await orchestrator.executions.get("default", "e")

    with pytest.raises(Exception, match="run"):
        await orchestrator.offered.controls.terminate("default", "e", "me", "", run_id="0" * 26)

    assert orchestrator.executions.view(state).suspended != ""
