"""Whatever is done to a parent, and whenever, reaches its whole family, and nothing is started behind it."""

import asyncio

import pytest

from forgemesh.chassis.database import Database
from forgemesh.faults import Code
from forgemesh.faults.workflow import Cancelled
from forgemesh.orchestrator.application.starts import StartRequest
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.explain import Explanation
from forgemesh.orchestrator.domain.failure import Failure, failure_of
from forgemesh.orchestrator.domain.family import FamilyLimits
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.state import Status
from forgemesh.orchestrator.ports import ExecutionFilter, ExecutionOrder, ExecutionRow, IdReuse
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

CALL = "call: {plugin: p, operation: o}"
CHILD = f"name: child\nsteps: [{{id: x, {CALL}}}]\noutput: '${{steps.x.output}}'"
PARENT = "name: parent\nsteps: [{id: c, workflow: {name: child}, on_close: CLOSE}]\noutput: '${steps.c.output}'"
ENDLESS = "name: endless\nsteps: [{id: again, workflow: {name: endless}, on_close: CLOSE}]"


async def registered(orchestrator: Orchestrator, *sources: str) -> None:
    for source in sources:
        await orchestrator.definitions.register("default", source)


async def members(orchestrator: Orchestrator) -> list[ExecutionRow]:
    page = await orchestrator.store.executions(
        ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 500
    )
    return page.rows


async def all_over(orchestrator: Orchestrator) -> list[ExecutionRow]:
    """Every execution, once none is open any more and no start is under way."""
    async with asyncio.timeout(PATIENCE):
        while running := next(orchestrator.engine.all_running(), None):
            await running.left.wait()
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
        orchestrator.engine._drop(running)
    await database.write(lambda connection: None)
    await database.write(lambda connection: None)


async def passes(moments: int) -> None:
    for _ in range(moments):
        await asyncio.sleep(0)


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
    assert orchestrator.engine.effects.children.families.members(root.run_id) == 0


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
    first = orchestrator_over(await store_over(database), hosts, 1, family=limits)
    await first.start(f"name: slow\nsteps: [{{id: x, {CALL}}}, {{id: again, workflow: {{name: slow}}}}]")
    await hosts.answer("x")
    child = await newest(hosts, 2)
    second = orchestrator_over(await store_over(database), hosts, 2, family=limits)
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
    orchestrator = orchestrator_over(await store_over(database), hosts, 1, family=limits)
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
    first = orchestrator_over(await store_over(database), hosts, 1)
    middle = f"name: middle\nsteps: [{{id: c, workflow: {{name: child}}, on_close: {on_close}}}]"
    await registered(first, CHILD, middle)
    await first.start(f"name: root\nsteps: [{{id: m, workflow: {{name: middle}}, on_close: {on_close}}}]")
    await hosts.call("x")
    command = asyncio.create_task(first.offered.controls.terminate("default", "e", "me", ""))
    await passes(moment)
    await dies(first, database)
    command.cancel()
    second = orchestrator_over(await store_over(database), hosts, 2)
    await second.recovery.run()
    if (running := second.engine.running("default", "e")) is not None:  # it died before the command was durable
        await second.engine.command(running, lambda state: control.terminate(state, "me", ""))

    rows = await all_over(second)
    root = next(row for row in rows if row.execution_id == "e")
    assert len(rows) == 3
    assert all(row.started_at <= root.ended_at for row in rows)


@pytest.mark.parametrize(
    ("on_close", "status"), [("cancel", Status.CANCELLED), ("terminate", Status.TERMINATED), ("abandon", None)]
)
async def test_a_child_that_outlived_its_parent_is_told_to_end_by_who_takes_it_up(
    database: Database, hosts: ScriptedHosts, on_close: str, status: Status | None
) -> None:
    calls_stop_when_told(hosts)
    first = orchestrator_over(await store_over(database), hosts, 1)
    await registered(first, CHILD)
    await first.start(PARENT.replace("CLOSE", on_close))
    child = (await hosts.call("x")).invocation.execution_id
    lost = first.engine.running("default", child)
    assert lost is not None
    first.engine._drop(lost)
    await first.offered.controls.terminate("default", "e", "me", "")

    second = orchestrator_over(await store_over(database), hosts, 2)
    await second.recovery.run()

    if status is None:
        await hosts.answer("x", attempt=2)
    assert (await second.ended(child)).status is (status or Status.SUCCEEDED)
    attempts = [event for event in await second.history(child) if isinstance(event.fact, e.AttemptStarted)]
    assert len(attempts) == (1 if status is not None else 2)


@pytest.mark.parametrize("moment", range(0, 60, 5))
async def test_a_pause_holds_the_child_whenever_it_comes(orchestrator: Orchestrator, moment: int) -> None:
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    await passes(moment)
    await orchestrator.offered.controls.pause("default", "e", e.PauseRequested(interrupt=False))
    called = len(orchestrator.hosts.calls)
    await passes(60)

    assert len(orchestrator.hosts.calls) == called
    for row in await members(orchestrator):
        await orchestrator.until(lambda state: state.pause is not None, row.execution_id)
    await orchestrator.offered.controls.resume("default", "e", "", "me")
    await orchestrator.hosts.until(lambda: bool(orchestrator.hosts.calls))
    orchestrator.hosts.calls[-1].succeed()
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def child_of(orchestrator: Orchestrator, execution_id: str = "e") -> str:
    """The id of the only child, once it is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = [row for row in await members(orchestrator) if row.parent_id == execution_id]
            if rows and orchestrator.engine.running("default", rows[0].execution_id) is not None:
                return rows[0].execution_id


KEYED = f"name: child\nconcurrency: {{key: one}}\nsteps: [{{id: x, {CALL}}}]"


async def test_a_queued_child_is_paused_with_its_parent(orchestrator: Orchestrator) -> None:
    keyed = KEYED.replace("key: one", "key: \"${'one'}\"")
    await orchestrator.start(keyed, execution_id="holder")
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)
    await orchestrator.offered.controls.pause("default", "e", e.PauseRequested("me"))
    await orchestrator.hosts.answer("x", execution_id="holder")
    await orchestrator.ended("holder")

    paused = await orchestrator.until(lambda state: not state.queued, child)
    assert paused.status is Status.PAUSED
    await orchestrator.offered.controls.resume("default", "e", "", "me")
    await orchestrator.hosts.answer("x", execution_id=child)
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_parent_that_goes_on_leaves_a_child_that_somebody_has_paused(orchestrator: Orchestrator) -> None:
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)
    controls = orchestrator.offered.controls
    await controls.pause("default", "e", e.PauseRequested("parent's"))
    await controls.pause("default", child, e.PauseRequested("child's"))
    await controls.resume("default", "e", "", "me")

    state = await orchestrator.executions.get("default", child)
    assert state.pause is not None
    assert (state.pause.by, state.inherited_pause) == ("child's", None)
    await controls.resume("default", child, "", "me")
    await orchestrator.hosts.call("x")
    orchestrator.hosts.calls[-1].succeed()
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


UNDONE = f"""
name: child
steps:
  - {{id: x, {CALL}, compensate: {{plugin: p, operation: o, retry: {{max_attempts: 1}}}}}}
  - {{id: y, {CALL}, retry: {{max_attempts: 1}}}}
"""
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")


async def undoing(orchestrator: Orchestrator) -> str:
    """A parent whose child is undoing what it did; the child's id."""
    await registered(orchestrator, UNDONE)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel").replace("output: '${steps.c.output}'", ""))
    child = (await orchestrator.hosts.call("x")).invocation.execution_id
    await orchestrator.hosts.answer("x")
    (await orchestrator.hosts.call("y")).fail(BROKEN)
    await orchestrator.hosts.call("x:compensate")
    return child


@pytest.mark.parametrize("command", ["cancel", "pause"])
async def test_what_a_child_refuses_is_an_event_of_its_parent(orchestrator: Orchestrator, command: str) -> None:
    child = await undoing(orchestrator)
    controls = orchestrator.offered.controls
    if command == "cancel":
        await controls.cancel("default", "e", "me", "")
    else:
        await controls.pause("default", "e", e.PauseRequested("me"))
    state = await orchestrator.until(lambda state: state.sequence > 3)
    await orchestrator.hosts.answer("x:compensate")
    if command == "pause":
        await controls.resume("default", "e", "", "me")
    ended = await orchestrator.ended()

    assert not state.status.final
    refused = [event.fact for event in await orchestrator.history() if isinstance(event.fact, e.ChildCommandRefused)]
    assert [(fact.path, fact.child_id, fact.command) for fact in refused] == [("c", child, command)]
    assert refused[0].failure.reason == "EXECUTION_STATE"
    assert ended.ended_at >= (await orchestrator.ended(child)).ended_at


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_a_child_could_not_undo_is_left_to_do_in_its_parent(
    orchestrator: Orchestrator, cancelled: bool
) -> None:
    await undoing(orchestrator)
    if cancelled:
        await orchestrator.offered.controls.cancel("default", "e", "me", "")
    (await orchestrator.hosts.call("x:compensate")).fail(BROKEN)

    state = await orchestrator.ended()
    row = await orchestrator.executions.row("default", "e")
    assert (state.status, row.status) == (Status.COMPENSATION_FAILED, Status.COMPENSATION_FAILED)
    assert state.left_to_do == ("c",)
    assert state.failure is not None
    told = [state.failure.reason, *(cause.reason for cause in state.failure.causes)]
    assert "CHILD_FAILED" in told


async def test_a_child_that_could_not_undo_all_is_not_started_a_second_time(orchestrator: Orchestrator) -> None:
    await registered(orchestrator, UNDONE)
    await orchestrator.start("name: p\nsteps: [{id: c, workflow: {name: child}, retry: {max_attempts: 3}}]")
    await orchestrator.hosts.answer("x")
    (await orchestrator.hosts.call("y")).fail(BROKEN)
    (await orchestrator.hosts.call("x:compensate")).fail(BROKEN)

    assert (await orchestrator.ended()).steps["c"].attempts == 1


async def test_explain_says_how_a_child_stands_and_who_holds_its_place(orchestrator: Orchestrator) -> None:
    keyed = KEYED.replace("key: one", "key: \"${'one'}\"")
    await orchestrator.start(keyed, execution_id="holder")
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)

    def told(explanation: Explanation) -> str:
        return explanation.hindrances[-1].message

    queued = await orchestrator.executions.explain("default", "e")
    assert "waits for a place under its concurrency key" in told(queued)
    assert "'holder' holds its place" in (await orchestrator.executions.explain("default", child)).summary
    await orchestrator.offered.controls.pause("default", child, e.PauseRequested("me"))
    assert "is paused" in told(await orchestrator.executions.explain("default", "e"))
    lost = orchestrator.engine.running("default", child)
    assert lost is not None
    orchestrator.engine._drop(lost)
    assert "is not there yet" in told(await orchestrator.executions.explain("default", "e"))
    orchestrator.engine.suspended.add(("default", child))
    assert "is suspended" in told(await orchestrator.executions.explain("default", "e"))


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
