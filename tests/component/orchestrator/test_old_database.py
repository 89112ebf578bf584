"""
The database of an orchestrator 0.1.0, as it was left by an orderly stop, opens and goes on.

Three keys in it were blocked for ever by executions that had ended and were then admitted: `cancel-b`, `terminate-b`
and `late-b`. It also has a holder of a key and one that waits (`held-a`, `held-b`), parents with children, one pair of
them paused, a step that waits for a person, one that is blocked, kept results, an id that was used twice, schedules.
"""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.workflow import RequestIdReused
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.values.payload import Payload, json_payload
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, database_at, orchestrator_over, store_over

OLD = Path(__file__).parents[2] / "data" / "orchestrator-0.1.0.db.gz"
STATUSES = {
    "again": Status.SUCCEEDED,
    "again~1": Status.SUCCEEDED,
    "blocked": Status.RUNNING,
    "cached": Status.SUCCEEDED,
    "cached-again": Status.SUCCEEDED,
    "cancel-a": Status.CANCELLED,
    "cancel-b": Status.CANCELLED,
    "held-a": Status.RUNNING,
    "held-b": Status.QUEUED,
    "incident": Status.RUNNING,
    "late-a": Status.TIMED_OUT,
    "late-b": Status.TIMED_OUT,
    "leap-20261129T173616Z-manual": Status.RUNNING,
    "loop": Status.RUNNING,
    "parent": Status.RUNNING,
    "parent.child.1": Status.RUNNING,
    "paused-parent": Status.PAUSED,
    "paused-parent.child.1": Status.PAUSED,
    "saga": Status.COMPENSATED,
    "signalled": Status.SUCCEEDED,
    "terminate-a": Status.TERMINATED,
    "terminate-b": Status.TERMINATED,
    "yearly-20261129T173616Z-manual": Status.SUCCEEDED,
}


@pytest.fixture
async def orchestrator(tmp_path: Path) -> AsyncIterator[Orchestrator]:
    """It has taken up what it found, after another one of this release did so before."""
    path = tmp_path / "orchestrator.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    async with database_at(path) as database:
        before = await taken_up(database)
        for running in before.engine.all_running():
            await running.durable()
        await before.engine.stop(0.0)
    async with database_at(path) as database:
        yield await taken_up(database)


async def taken_up(database: Database) -> Orchestrator:
    hosts = ScriptedHosts()
    hosts.show("bits", endpoint("bits-1"))
    hosts.show("rare")
    store = await store_over(database)
    found = orchestrator_over(store, hosts)
    found.offered.concurrency_slots.load(await store.slots({SOLE}))
    await found.recovery.run()
    return found


async def start(orchestrator: Orchestrator, workflow: str, given: object, **facts: str) -> ExecutionState:
    asked = StartRequest(namespace="default", workflow=workflow, input=json_payload(given), **facts)  # type: ignore[arg-type]
    return (await orchestrator.offered.starts.start(asked))[0]


async def test_every_execution_stands_where_it_stood_or_where_it_had_first_ended(orchestrator: Orchestrator) -> None:
    page = await orchestrator.store.executions(
        ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 100
    )

    assert {row.execution_id: row.status for row in page.rows} == STATUSES
    for execution_id, status in STATUSES.items():
        assert (await orchestrator.executions.get("default", execution_id)).status is status
    assert {running.state.execution_id for running in orchestrator.engine.all_running()} == {
        execution_id for execution_id, status in STATUSES.items() if not status.final
    }


@pytest.mark.parametrize(("workflow", "key"), [("keyed", "cancelled"), ("keyed", "terminated"), ("short", "late")])
async def test_a_key_that_was_blocked_for_ever_is_free(orchestrator: Orchestrator, workflow: str, key: str) -> None:
    state = await start(orchestrator, workflow, {"k": key}, execution_id="new")

    assert state.status is Status.RUNNING
    assert orchestrator.offered.concurrency_slots.leaked() == 0


async def test_whoever_waited_behind_a_holder_gets_its_place(orchestrator: Orchestrator) -> None:
    await orchestrator.offered.controls.terminate("default", "held-a", "me", "")

    await orchestrator.until(lambda state: state.status is Status.RUNNING, "held-b")


async def test_a_parent_goes_on_once_its_child_of_the_old_kind_has_ended(orchestrator: Orchestrator) -> None:
    go = e.SignalReceived("go", Payload(b"1"))
    await orchestrator.offered.controls.signal("default", "parent.child.1", go)

    call = await orchestrator.hosts.call("after", execution_id="parent")

    assert call.invocation.idempotency_key == "parent/after"


async def test_a_parent_that_goes_on_takes_its_paused_child_along(orchestrator: Orchestrator) -> None:
    await orchestrator.offered.controls.resume("default", "paused-parent", "", "me")

    await orchestrator.until(lambda state: state.status is Status.RUNNING, "paused-parent.child.1")


async def test_a_request_that_was_answered_before_gets_the_same_answer(orchestrator: Orchestrator) -> None:
    state = await start(orchestrator, "loop", {}, execution_id="loop", request_id="loop-request")

    assert state.execution_id == "loop"
    with pytest.raises(RequestIdReused):
        await start(orchestrator, "loop", {"other": 1}, execution_id="loop", request_id="loop-request")


async def test_nothing_in_it_needs_the_safety_net(orchestrator: Orchestrator) -> None:
    await orchestrator.offered.sweep.run()

    assert (orchestrator.offered.sweep.saved, orchestrator.offered.sweep.leaked) == (0, 0)


async def test_a_blocked_step_has_used_up_no_attempt(orchestrator: Orchestrator) -> None:
    orchestrator.hosts.show("rare", endpoint("rare-1"))
    await orchestrator.hosts.answer("call", "here", execution_id="blocked")

    assert (await orchestrator.ended("blocked")).status is Status.SUCCEEDED


async def test_every_execution_is_a_run_of_its_own_and_knows_its_parent_and_its_schedule(
    orchestrator: Orchestrator,
) -> None:
    page = await orchestrator.store.executions(
        ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 100
    )
    rows = {row.execution_id: row for row in page.rows}

    assert len({row.run_id for row in page.rows}) == len(STATUSES)
    assert all(len(row.run_id) == 26 for row in page.rows)
    for parent in ("parent", "paused-parent"):
        assert rows[f"{parent}.child.1"].parent_run == rows[parent].run_id
    started = {row.schedule_id: row.schedule_incarnation for row in page.rows if row.schedule_id}
    assert set(started) == {"leap", "yearly"}
    assert len(set(started.values()) - {""}) == 2
    earlier = await orchestrator.executions.get("default", "again", rows["again~1"].run_id)
    assert (earlier.execution_id, earlier.run_id) == ("again~1", rows["again~1"].run_id)
