"""Whatever is done to a parent, and whenever, reaches its whole family, and nothing is started behind it."""

import asyncio
import time

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.workflow import Cancelled
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.family import FamilyLimits
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.parents import CALL, CHILD, PARENT, members, passes, registered

ENDLESS = "name: endless\nsteps: [{id: again, workflow: {name: endless}, on_close: CLOSE}]"


async def all_over(orchestrator: Orchestrator) -> list[ExecutionRow]:
    """Every execution, once none is open any more and no start is under way."""
    async with asyncio.timeout(PATIENCE):
        while running := orchestrator.engine.all_running():
            await running[0].left.wait()
    rows = await members(orchestrator)
    assert [row.execution_id for row in rows if not row.status.final] == []
    return rows


def calls_stop_when_told(hosts: ScriptedHosts) -> None:
    for link in hosts.links("p").values():
        link.on_cancel = lambda call: call.fail(failure_of(Cancelled(call.path)))


async def dies(orchestrator: Orchestrator, database: Database) -> None:
    """Nothing of it is left but what was on its way to the disk."""
    orchestrator.engine.stopping = True
    for running in orchestrator.engine.all_running():
        orchestrator.engine.drop(running)
    await database.write(lambda connection: None)
    await database.write(lambda connection: None)


@pytest.mark.parametrize("moment", range(0, 90, 6))
async def test_a_workflow_that_starts_itself_is_over_once_it_is_cancelled(
    orchestrator: Orchestrator, moment: int
) -> None:
    await registered(orchestrator, ENDLESS.replace("CLOSE", "cancel"))
    await orchestrator.start(ENDLESS.replace("CLOSE", "cancel"))
    await passes(moment)

    await orchestrator.offered.controls.cancel("default", "e", "me", "")
    rows = await all_over(orchestrator)

    root = next(row for row in rows if row.execution_id == "e")
    assert root.status is Status.CANCELLED
    assert all(row.ended_at <= root.ended_at for row in rows)
    assert orchestrator.offered.families.members(root.run_id) == 0


@pytest.mark.parametrize("moment", range(0, 60, 4))
async def test_a_parent_that_got_its_place_ends_after_its_child_whenever_it_is_cancelled(
    orchestrator: Orchestrator, moment: int
) -> None:
    calls_stop_when_told(orchestrator.hosts)
    keyed = PARENT.replace("CLOSE", "cancel") + "\nconcurrency: {key: k}"
    await registered(orchestrator, CHILD, keyed)
    await orchestrator.start(keyed, execution_id="first")
    await orchestrator.start(keyed)
    await orchestrator.offered.controls.terminate("default", "first", "me", "")
    await passes(moment)

    await orchestrator.offered.controls.cancel("default", "e", "me", "")
    rows = await all_over(orchestrator)

    parent = next(row for row in rows if row.execution_id == "e")
    assert parent.status is Status.CANCELLED
    assert all(row.ended_at <= parent.ended_at for row in rows)


async def test_a_workflow_that_starts_itself_ends_at_the_depth_of_families(orchestrator: Orchestrator) -> None:
    await orchestrator.start(ENDLESS.replace("CLOSE", "cancel"))

    rows = await all_over(orchestrator)
    failures = [(await orchestrator.ended(row.execution_id)).failure for row in rows]
    reasons = [failure.reason for failure in failures if failure is not None]
    assert reasons == ["CHILD_FAILED"] * (FamilyLimits().depth - 1) + ["FAMILY_TOO_DEEP"]


async def newest(hosts: ScriptedHosts, count: int) -> str:
    """The execution that called last, once as many have called."""

    def callers() -> list[str]:
        return list(dict.fromkeys(call.invocation.execution_id for call in hosts.calls))

    await hosts.until(lambda: len(callers()) == count)
    return callers()[-1]


async def test_the_depth_holds_after_a_crash_and_through_forks(database: Database, hosts: ScriptedHosts) -> None:
    limits = FamilyLimits(depth=2)
    first = orchestrator_over(await store_over(database), hosts, family=limits)
    await first.start(f"name: slow\nsteps: [{{id: x, {CALL}}}, {{id: again, workflow: {{name: slow}}}}]")
    await hosts.answer("x")
    child = await newest(hosts, 2)
    second = orchestrator_over(await store_over(database), hosts, family=limits)
    await second.recovery.run()
    await hosts.answer("x", attempt=2, execution_id=child)
    ended = await second.ended(child)
    fork = StartRequest(namespace="default", workflow="", execution_id="fork", input=Payload(b"{}"))
    await second.offered.controls.fork(fork, child, "", None, [], keep_signals=False)

    for state in (ended, await second.ended("fork")):
        assert state.failure is not None
        assert state.failure.reason == "FAMILY_TOO_DEEP"
    assert len(await all_over(second)) == 3


async def test_a_family_has_no_more_open_members_than_it_may(database: Database, hosts: ScriptedHosts) -> None:
    limits = FamilyLimits(members=3)
    orchestrator = orchestrator_over(await store_over(database), hosts, family=limits)
    await registered(orchestrator, CHILD)
    branches = ", ".join(f"b{number}: [{{id: c, workflow: {{name: child}}}}]" for number in range(5))
    await orchestrator.start(
        f"name: wide\nsteps: [{{id: g, parallel: {{join: all_settled, branches: {{{branches}}}}}}}]"
    )
    await newest(hosts, 2)
    for call in list(hosts.calls):
        call.succeed()
    await orchestrator.ended()

    history = [event.fact for event in await orchestrator.history()]
    refused = [fact.failure for fact in history if isinstance(fact, e.AttemptFailed)]
    assert [failure.reason for failure in refused] == ["FAMILY_TOO_LARGE"] * 3
    assert not any(failure.retryable for failure in refused)
    assert len(await all_over(orchestrator)) == 3


@pytest.mark.parametrize("on_close", ["cancel", "terminate"])
@pytest.mark.parametrize("moment", range(0, 60, 5))
async def test_a_cancelled_parent_ends_after_its_child_whenever_it_is_cancelled(
    orchestrator: Orchestrator, on_close: str, moment: int
) -> None:
    calls_stop_when_told(orchestrator.hosts)
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", on_close))
    await passes(moment)

    await orchestrator.offered.controls.cancel("default", "e", "me", "")
    rows = await all_over(orchestrator)

    parent = next(row for row in rows if row.execution_id == "e")
    assert parent.status is Status.CANCELLED
    assert all(row.ended_at <= parent.ended_at for row in rows)
    assert all(call.cancelled or call.invocation.execution_id == "e" for call in orchestrator.hosts.calls)


@pytest.mark.parametrize("on_close", ["cancel", "terminate"])
@pytest.mark.parametrize("moment", range(0, 60, 5))
async def test_nothing_is_started_behind_the_end_of_a_terminated_root(
    orchestrator: Orchestrator, on_close: str, moment: int
) -> None:
    await registered(orchestrator, ENDLESS.replace("CLOSE", on_close))
    await orchestrator.start(ENDLESS.replace("CLOSE", on_close))
    await passes(moment)

    await orchestrator.offered.controls.terminate("default", "e", "me", "")
    rows = await all_over(orchestrator)

    root = next(row for row in rows if row.execution_id == "e")
    assert root.status is Status.TERMINATED
    assert all(row.started_at <= root.ended_at for row in rows)


@pytest.mark.parametrize("on_close", ["cancel", "terminate"])
@pytest.mark.parametrize("moment", range(0, 60, 6))
async def test_a_terminated_family_stays_ended_when_the_orchestrator_dies_at_that_moment(
    database: Database, hosts: ScriptedHosts, on_close: str, moment: int
) -> None:
    calls_stop_when_told(hosts)
    first = orchestrator_over(await store_over(database), hosts)
    middle = f"name: middle\nsteps: [{{id: c, workflow: {{name: child}}, on_close: {on_close}}}]"
    await registered(first, CHILD, middle)
    await first.start(f"name: root\nsteps: [{{id: m, workflow: {{name: middle}}, on_close: {on_close}}}]")
    await hosts.call("x")
    command = asyncio.create_task(first.offered.controls.terminate("default", "e", "me", ""))
    await passes(moment)
    command.cancel()  # a store that is dead shares no transaction with its successor's
    await dies(first, database)
    second = orchestrator_over(await store_over(database), hosts)
    await second.recovery.run()
    if (running := second.offered.owners.local("default", "e")) is not None:  # it died before the command was durable
        await second.engine.command(running, lambda state: control.terminate(state, "me", ""))

    rows = await all_over(second)
    root = next(row for row in rows if row.execution_id == "e")
    assert len(rows) == 3
    assert all(row.started_at <= root.ended_at for row in rows)


@pytest.mark.parametrize("on_close", ["cancel", "terminate"])
async def test_who_is_terminated_by_a_parent_that_was_taken_up_before_it_ends_its_own_children(
    database: Database, hosts: ScriptedHosts, on_close: str
) -> None:
    """A wait that was over meanwhile ends the branch that waits for the middle one, which is not taken up yet."""
    calls_stop_when_told(hosts)
    first = orchestrator_over(await store_over(database), hosts)
    middle = f"name: middle\nsteps: [{{id: c, workflow: {{name: child}}, on_close: {on_close}}}]"
    await registered(first, CHILD, middle)
    await first.start(
        "name: root\nsteps: [{id: g, parallel: {join: any, branches: {"
        "m: [{id: m, workflow: {name: middle}, on_close: terminate}], "
        "w: [{id: w, wait: {for: 1h}}]}}}]"
    )
    child = (await hosts.call("x")).invocation.execution_id
    await dies(first, database)
    two_hours = 2 * 3600 * SECOND
    second = orchestrator_over(await store_over(database), hosts, clock=lambda: time.time_ns() + two_hours)
    await second.recovery.run()

    rows = {row.execution_id: row for row in await all_over(second)}
    assert rows["e"].status is Status.SUCCEEDED
    assert rows[child].status is (Status.CANCELLED if on_close == "cancel" else Status.TERMINATED)
    attempts = [event.fact for event in await second.history(child) if isinstance(event.fact, e.AttemptStarted)]
    assert [fact.attempt for fact in attempts] == [1]


@pytest.mark.parametrize(
    ("on_close", "status"), [("cancel", Status.CANCELLED), ("terminate", Status.TERMINATED), ("abandon", None)]
)
async def test_a_child_that_outlived_its_parent_is_told_to_end_by_who_takes_it_up(
    database: Database, hosts: ScriptedHosts, on_close: str, status: Status | None
) -> None:
    calls_stop_when_told(hosts)
    first = orchestrator_over(await store_over(database), hosts)
    await registered(first, CHILD)
    await first.start(PARENT.replace("CLOSE", on_close))
    child = (await hosts.call("x")).invocation.execution_id
    lost = first.offered.owners.local("default", child)
    assert lost is not None
    first.engine.drop(lost)
    await first.offered.controls.terminate("default", "e", "me", "")

    second = orchestrator_over(await store_over(database), hosts)
    await second.recovery.run()

    if status is None:
        await hosts.answer("x", attempt=2)
    assert (await second.ended(child)).status is (status or Status.SUCCEEDED)
    attempts = [event for event in await second.history(child) if isinstance(event.fact, e.AttemptStarted)]
    assert len(attempts) == (1 if status is not None else 2)


async def test_an_id_is_free_again_although_a_child_of_its_first_execution_is_open(orchestrator: Orchestrator) -> None:
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", "abandon"))
    old = (await orchestrator.hosts.call("x")).invocation.execution_id
    await orchestrator.offered.controls.terminate("default", "e", "me", "")

    await orchestrator.start(PARENT.replace("CLOSE", "abandon"), reuse=IdReuse.ALLOW_DUPLICATE)
    new = await newest(orchestrator.hosts, 2)
    await orchestrator.hosts.answer("x", "old", execution_id=old)
    await orchestrator.ended(old)
    await orchestrator.hosts.answer("x", "new", execution_id=new)

    assert old != new
    assert (await orchestrator.ended()).output == Payload(b'"new"')
