"""Who runs an execution."""

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.control import ExecutionSuperseded
from forgemesh.faults.workflow import ExecutionNotFound, ExecutionSuspended
from forgemesh.orchestrator.execution.engine.owners import Elsewhere, Ended, Local
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

SOURCE = "name: w\nversion: 1.0.0\nsteps: [{id: a, call: {plugin: p, operation: o}}]"


async def test_what_runs_here_is_found_without_a_look_at_the_store(
    orchestrator: Orchestrator, database: Database
) -> None:
    state = await orchestrator.start(SOURCE)
    asked: list[str] = []
    await database.read(lambda connection: connection.set_trace_callback(asked.append))

    found = await orchestrator.offered.owners.find("default", "e", state.run_id)

    assert isinstance(found, Local)
    assert found.running.state.run_id == state.run_id
    assert asked == []


async def test_what_has_ended_and_what_another_process_left_are_told_apart(
    database: Database, hosts: ScriptedHosts
) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await first.start(SOURCE, execution_id="ended")
    await hosts.answer("a", execution_id="ended")
    await first.ended("ended")
    await first.start(SOURCE, execution_id="open")
    second = orchestrator_over(await store_over(database), hosts)
    owners = second.offered.owners
    ended, left = await owners.find("default", "ended"), await owners.find("default", "open")

    assert isinstance(ended, Ended)
    assert isinstance(left, Elsewhere)
    assert (ended.row.execution_id, left.row.execution_id) == ("ended", "open")
    with pytest.raises(ExecutionSuspended):
        await second.offered.controls.cancel("default", "open", "me", "")
    await second.recovery.run()
    assert isinstance(await owners.find("default", "open"), Local)


async def test_what_is_not_there_and_a_run_whose_id_another_one_has_are_refused(
    orchestrator: Orchestrator, hosts: ScriptedHosts
) -> None:
    owners = orchestrator.offered.owners
    first = await orchestrator.start(SOURCE)
    await hosts.answer("a")
    await orchestrator.ended()
    second = await orchestrator.start(SOURCE, reuse=IdReuse.ALLOW_DUPLICATE)

    earlier, newest = await owners.find("default", "e", first.run_id), await owners.find("default", "e")
    assert isinstance(earlier, Ended)
    assert isinstance(newest, Local)
    assert (earlier.row.run_id, newest.running.state.run_id) == (first.run_id, second.run_id)
    with pytest.raises(ExecutionNotFound):
        await owners.find("default", "nobody")
    with pytest.raises(ExecutionSuperseded):
        await owners.find("default", "e", "a run that never was")
