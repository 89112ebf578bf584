import asyncio
import contextlib
from collections.abc import AsyncIterator

from forgemesh.chassis.reconcile import ReconcileLoop
from forgemesh.chassis.sqlite.database import Database
from forgemesh.chassis.tasks import beside
from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator

TWO_STEPS = """
name: two
steps:
  - {id: a, call: {plugin: p, operation: o}, input: "${input.text}", retry: {initial: 1ms, max_interval: 1ms}}
  - {id: b, call: {plugin: p, operation: o}, input: "${steps.a.output}", retry: {initial: 1ms, max_interval: 1ms}}
output: "${steps.b.output}"
"""
LARGE = "x" * 20_000


async def limit_pages(database: Database, more: int) -> None:
    """From now on the file may grow by so many pages; SQLite then says what it says on a full disk."""
    (now,) = await database.read(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await database.write(lambda connection: connection.execute(f"PRAGMA max_page_count={now + more}").fetchone())


@contextlib.asynccontextmanager
async def answering_with(text: str, hosts: ScriptedHosts) -> AsyncIterator[None]:
    """Whatever is called answers at once."""

    async def answer() -> None:
        for number in range(1_000_000):
            while len(hosts.calls) <= number:
                hosts.moved.clear()
                await hosts.moved.wait()
            hosts.calls[number].succeed(text)

    task = asyncio.get_running_loop().create_task(answer())
    try:
        yield
    finally:
        task.cancel()


async def started_until_refused(orchestrator: Orchestrator) -> list[str]:
    """The ids of the executions whose start was acknowledged."""
    acknowledged: list[str] = []
    with contextlib.suppress(StoreUnavailable):
        for number in range(1_000):
            await orchestrator.start(TWO_STEPS, {"text": "short"}, execution_id=f"e-{number}")
            acknowledged.append(f"e-{number}")
    return acknowledged


async def settled(orchestrator: Orchestrator, execution_id: str) -> ExecutionState:
    """The execution once it has ended, however often it is suspended before."""
    while not (state := await orchestrator.executions.get("default", execution_id)).status.final:
        running = orchestrator.offered.owners.local("default", execution_id)
        if running is not None:
            await running.left.wait()
    return state


async def test_a_full_disk_suspends_and_what_was_acknowledged_ends_without_a_restart(
    orchestrator: Orchestrator, database: Database, hosts: ScriptedHosts
) -> None:
    sweep = ReconcileLoop("sweep", orchestrator.offered.sweep.run, period=0.1)
    await limit_pages(database, 40)
    acknowledged = await started_until_refused(orchestrator)
    troubled = asyncio.Event()
    orchestrator.engine.on_suspended.add(sweep.nudge)
    orchestrator.engine.on_trouble.add(troubled.set)

    async with answering_with(LARGE, hosts), beside(sweep.run()), asyncio.timeout(10 * PATIENCE):
        await troubled.wait()
        await limit_pages(database, 1_000_000)
        ended = [await settled(orchestrator, execution_id) for execution_id in acknowledged]

    histories = [await orchestrator.history(execution_id) for execution_id in acknowledged]
    assert 0 < len(acknowledged) < 1_000
    assert await orchestrator.store.find("default", f"e-{len(acknowledged)}") is None
    assert {state.status for state in ended} == {Status.SUCCEEDED}
    assert all([event.sequence for event in h] == list(range(1, len(h) + 1)) for h in histories)
