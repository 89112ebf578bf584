"""An id that was given again tells nothing: what somebody holds or names stays the run that it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from forgemesh.api.orchestrator.v1 import control_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import add_OrchestratorServiceServicer_to_server
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.server import Listen, serving
from forgemesh.chassis.sqlite.database import Database
from forgemesh.client import Client, ExecutionFilter, ExecutionHandle, Pause, Resume, Terminate
from forgemesh.faults.control import ExecutionState as Impossible, ExecutionSuperseded
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import ExecutionNotFound
from forgemesh.orchestrator.api.servicer import SERVICE, OrchestratorServicer
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

SOURCE = """
name: w
steps: [{id: a, call: {plugin: p, operation: o}, input: "${input}"}]
output: "${steps.a.output}"
"""
ABSENT = "01jzzzzzzzzzzzzzzzzzzzzzzz"


@pytest.fixture
async def mesh(orchestrator: Orchestrator) -> AsyncIterator[Client]:
    servicer = OrchestratorServicer(orchestrator.offered, {})
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", receive_limit=SESSION_LIMIT, grace=0.0)
    add = partial(add_OrchestratorServiceServicer_to_server, servicer)
    async with serving(listen, (SERVICE,), add) as server, Client.connect(server.address) as client:
        await client.register(SOURCE)
        yield client


async def begun(mesh: Client, given: int) -> ExecutionHandle:
    return await mesh.start("w", given, execution_id="x", id_reuse="allow_duplicate")


async def replaced(mesh: Client, orchestrator: Orchestrator) -> tuple[ExecutionHandle, ExecutionHandle]:
    """The handle of an execution that has ended with 1, and that of its successor, which is open."""
    first = await begun(mesh, 1)
    await orchestrator.hosts.answer("a", 1)
    await orchestrator.ended("x")
    return first, await begun(mesh, 2)


async def test_every_start_is_another_run(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    assert len({first.run_id, second.run_id}) == 2
    assert all(len(one.run_id) == 26 and one.run_id == one.run_id.lower() for one in (first, second))


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda held: held.terminate(), id="terminate"),
        pytest.param(lambda held: held.cancel(), id="cancel"),
        pytest.param(lambda held: held.pause(), id="pause"),
        pytest.param(lambda held: held.resume(), id="resume"),
        pytest.param(lambda held: held.signal("go"), id="signal"),
        pytest.param(lambda held: held.resolve("a", "fail"), id="resolve"),
    ],
)
async def test_a_handle_does_nothing_to_the_successor_of_its_execution(
    mesh: Client, orchestrator: Orchestrator, action: Callable[[ExecutionHandle], Awaitable[object]]
) -> None:
    first, second = await replaced(mesh, orchestrator)
    before = (await second.describe()).sequence

    with pytest.raises(Impossible, match="is SUCCEEDED"):
        await action(first)
    assert (await second.describe()).sequence == before


async def test_a_handle_goes_on_telling_of_its_own_execution(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    async with asyncio.timeout(PATIENCE):
        events = [event async for event in first.watch()]
        result = await first.result()
    assert (events[0].execution_started.run_id, len(events)) == (first.run_id, 4)
    assert result == 1
    assert (await first.explain()).run_id == first.run_id
    assert [one.step_path for one in await first.checkpoints()] == ["a"]
    assert await second.checkpoints() == []


async def test_a_result_that_is_waited_for_is_never_that_of_a_successor(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    first = await begun(mesh, 1)
    waiting = asyncio.create_task(first.result())
    await orchestrator.hosts.answer("a", 1)
    await orchestrator.ended("x")
    await begun(mesh, 2)
    await orchestrator.hosts.answer("a", 2)

    async with asyncio.timeout(PATIENCE):
        assert await waiting == 1


async def test_a_handle_deletes_its_own_execution(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    await first.delete()
    assert (await second.describe()).run_id == second.run_id
    with pytest.raises(ExecutionSuperseded, match=f"no run {first.run_id} .* run {second.run_id} now"):
        await first.describe()
    await first.delete()
    assert [one.run_id for one in await mesh.list_executions()] == [second.run_id]


async def test_what_is_gone_and_has_no_successor_is_not_found(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)
    await second.terminate()
    await first.delete()
    await second.delete()

    with pytest.raises(ExecutionNotFound, match=f"no execution 'x@{first.run_id}'"):
        await first.describe()


async def test_a_fork_starts_from_the_run_that_is_held(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    forked = await first.fork(execution_id="f")
    async with asyncio.timeout(PATIENCE):
        assert await forked.result() == 1
    origin = (await forked.describe()).origin
    assert (origin.forked_run_id, origin.forked_from) == (first.run_id, "x")
    assert second.run_id != first.run_id


async def test_an_export_holds_the_run_that_is_held_and_arrives_under_its_first_id(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    first, _ = await replaced(mesh, orchestrator)
    file = b"".join([piece async for piece in first.archive()])

    copy = await mesh.import_execution(file, namespace="elsewhere")
    assert copy.id == "x"
    assert copy.run_id != first.run_id
    assert await copy.result() == 1


async def test_executions_are_named_by_id_or_by_id_and_run(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    assert (await mesh.execution("x")).run_id == second.run_id
    assert (await mesh.execution(first.reference)).run_id == first.run_id
    assert (await mesh.execution("x", run_id=first.run_id)).run_id == first.run_id
    assert (await mesh.execution(f"x~1@{first.run_id}")).run_id == first.run_id
    with pytest.raises(ExecutionSuperseded):
        await mesh.execution(f"x@{ABSENT}")
    with pytest.raises(ExecutionNotFound):
        await mesh.execution(f"y@{first.run_id}")
    with pytest.raises(ExecutionNotFound):
        await mesh.execution(first.reference, namespace="elsewhere")


@pytest.mark.parametrize("named", ["x@", "x@1", "x@" + "A" * 26, "x@" + "0" * 27, f"x@{ABSENT}@{ABSENT}"])
async def test_what_is_no_run_is_refused(mesh: Client, named: str) -> None:
    with pytest.raises(InvalidRequest, match="is no run"):
        await mesh.execution(named)


async def test_two_runs_at_once_are_refused(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    with pytest.raises(InvalidRequest, match="another run"):
        await mesh.execution(first.reference, run_id=second.run_id)


async def test_a_command_by_a_bare_id_says_which_run_it_met(mesh: Client, orchestrator: Orchestrator) -> None:
    _, second = await replaced(mesh, orchestrator)
    stub = second._stub

    paused = await stub.PauseExecution(control_pb2.PauseExecutionRequest(execution_id="x"))
    signalled = await stub.SignalExecution(
        control_pb2.SignalExecutionRequest(execution_id="x", signal=control_pb2.Signal(name="go"))
    )
    explained = await stub.ExplainExecution(control_pb2.ExplainExecutionRequest(execution_id="x"))
    ended = await stub.TerminateExecution(control_pb2.TerminateExecutionRequest(execution_id="x"))
    again = await stub.TerminateExecution(control_pb2.TerminateExecutionRequest(execution_id="x"))
    frames = [frame async for frame in stub.WatchExecution(pb.WatchExecutionRequest(execution_id="x"))]
    pieces = [piece async for piece in stub.ExportExecution(control_pb2.ExportExecutionRequest(execution_id="x"))]
    points = await stub.ListCheckpoints(control_pb2.ListCheckpointsRequest(execution_id="x"))
    deleted = await stub.DeleteExecution(control_pb2.DeleteExecutionRequest(execution_id="x"))
    nothing = await stub.DeleteExecution(control_pb2.DeleteExecutionRequest(execution_id="x"))

    met = {paused.execution.run_id, signalled.run_id, explained.run_id, ended.execution.run_id, again.execution.run_id}
    met |= {frame.run_id for frame in frames} | {piece.run_id for piece in pieces} | {points.run_id, deleted.run_id}
    assert met == {second.run_id}
    assert nothing.run_id == ""


async def test_many_are_controlled_by_run_and_told_by_run(mesh: Client, orchestrator: Orchestrator) -> None:
    first, second = await replaced(mesh, orchestrator)

    ended = await mesh.control_many([first.reference, second.reference], Terminate())
    assert ended.done == (second.reference,)
    assert list(ended.refused) == [first.reference]
    assert ended.runs == {first.reference: first.run_id, second.reference: second.run_id}


async def test_a_filter_tells_which_run_it_met(mesh: Client, orchestrator: Orchestrator) -> None:
    _, second = await replaced(mesh, orchestrator)

    paused = await mesh.control_many(ExecutionFilter(open_only=True), Pause())
    resumed = await mesh.control_many(["x"], Resume())
    assert paused.runs == resumed.runs == {"x": second.run_id}


async def test_children_are_listed_by_the_run_of_their_parent(mesh: Client, orchestrator: Orchestrator) -> None:
    await mesh.register("name: p\nsteps: [{id: c, workflow: {name: w}, on_close: terminate}]")
    parents: list[ExecutionHandle] = []
    while len(parents) < 2:
        parents.append(await mesh.start("p", execution_id="parent", id_reuse="allow_duplicate"))
        await orchestrator.hosts.until(lambda: len(orchestrator.hosts.calls) == len(parents))
        await parents[-1].terminate()
        async with asyncio.timeout(PATIENCE):
            children = await mesh.list_executions(ExecutionFilter(parent_execution_id="parent"))
            await (await mesh.execution(f"{children[0].execution_id}@{children[0].run_id}")).wait()

    both = await mesh.list_executions(ExecutionFilter(parent_execution_id="parent"))
    own = [await mesh.list_executions(ExecutionFilter(parent_execution_id=f"parent@{one.run_id}")) for one in parents]
    assert len(both) == 2
    assert [len(children) for children in own] == [1, 1]
    assert {children[0].run_id for children in own} == {child.run_id for child in both}


async def test_a_start_that_waits_tells_of_what_it_started_and_never_of_a_successor(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    first = asyncio.create_task(mesh.start("w", 1, execution_id="x", wait=PATIENCE))
    await orchestrator.hosts.answer("a", 1)

    async with asyncio.timeout(PATIENCE):
        held = await first
    await begun(mesh, 2)
    assert await held.result() == 1


async def test_an_import_is_another_run_each_time(mesh: Client, orchestrator: Orchestrator) -> None:
    first = await begun(mesh, 1)
    file = b"".join([piece async for piece in first.archive()])

    copies = [await mesh.import_execution(file, execution_id=name) for name in ("y", "z")]
    runs = {first.run_id, *(copy.run_id for copy in copies)}
    assert len(runs) == 3
    await copies[0].terminate()
    assert not (await first.describe()).HasField("ended_at")
    assert not (await copies[1].describe()).HasField("ended_at")


async def test_an_imported_child_answers_no_parent_of_its_parents_name(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    await mesh.register("name: p\nsteps: [{id: c, workflow: {name: w}, input: 1}]\noutput: '${steps.c.output}'")
    parent = await mesh.start("p", execution_id="parent")
    await orchestrator.hosts.call("a")
    (child,) = await mesh.list_executions(ExecutionFilter(parent_execution_id="parent"))
    held = await mesh.execution(f"{child.execution_id}@{child.run_id}")
    file = b"".join([piece async for piece in held.archive()])
    copy = await mesh.import_execution(file, execution_id="copy")

    await copy.terminate()
    assert not (await parent.describe()).HasField("ended_at")


async def test_the_end_of_an_old_parents_child_is_no_answer_to_its_successor(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    await mesh.register(
        "name: p\nsteps: [{id: c, workflow: {name: w}, input: 1, on_close: abandon}]\noutput: '${steps.c.output}'"
    )
    first = await mesh.start("p", execution_id="parent")
    await orchestrator.hosts.call("a")
    (child,) = await mesh.list_executions(ExecutionFilter(parent_execution_id="parent"))
    await first.terminate()
    second = await mesh.start("p", execution_id="parent", id_reuse="allow_duplicate", paused=True)

    held = await mesh.execution(f"{child.execution_id}@{child.run_id}")
    await held.terminate()
    assert (await second.describe()).sequence == second.last_seen.sequence


async def test_a_terminate_that_comes_again_is_known_also_once_the_id_was_given_away(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    first = await begun(mesh, 1)
    await first.terminate("enough", by="ana")
    second = await begun(mesh, 2)

    again = await first.terminate("enough", by="ana")
    assert (again.run_id, again.execution_id) == (first.run_id, "x~1")
    with pytest.raises(Impossible):
        await first.terminate("another reason", by="ana")
    assert not (await second.describe()).HasField("ended_at")


async def test_pages_of_checkpoints_stay_with_their_run(mesh: Client, orchestrator: Orchestrator) -> None:
    two_steps = "name: two\nsteps: [{id: a, call: {plugin: p, operation: o}}, {id: b, call: {plugin: p, operation: o}}]"
    await mesh.register(two_steps)
    first = await mesh.start("two", execution_id="x")
    await orchestrator.hosts.answer("a")
    await orchestrator.hosts.answer("b")
    await orchestrator.ended("x")
    stub = first._stub
    page = await stub.ListCheckpoints(control_pb2.ListCheckpointsRequest(execution_id="x", page_size=1))
    await mesh.start("two", execution_id="x", id_reuse="allow_duplicate")

    request = control_pb2.ListCheckpointsRequest(execution_id="x", page_size=1, page_token=page.next_page_token)
    rest = await stub.ListCheckpoints(request)
    assert [one.step_path for one in rest.checkpoints] == ["b"]
    assert rest.run_id == first.run_id


async def test_spans_that_are_sent_again_keep_their_names_once_the_id_was_given_away(
    mesh: Client, orchestrator: Orchestrator
) -> None:
    await replaced(mesh, orchestrator)
    row = await orchestrator.executions.row("default", "x~1")
    stored = await orchestrator.definitions.find("default", row.workflow, row.workflow_version)

    _, trace = await orchestrator.offered.arrivals.load(row, stored.definition, spans_from=1)
    assert trace.execution_id == "x"


async def test_what_is_written_after_a_deletion_and_a_restart_has_no_place_of_what_was_deleted(
    database: Database, hosts: ScriptedHosts
) -> None:
    """Not even if it was the newest: positions say which spans were sent, keys what a page goes on behind."""
    first = orchestrator_over(await store_over(database), hosts)
    await first.start(SOURCE)
    await hosts.answer("a")
    await first.ended()
    gone = await first.executions.row("default", "e")
    last = len(await first.history())
    await first.store.mark_spans_sent(first.store.shard, last)
    await first.offered.controls.delete("default", "e")
    second = orchestrator_over(await store_over(database), hosts)
    await second.start(SOURCE)

    assert (await second.executions.row("default", "e")).key > gone.key
    assert [row.execution_id for row in await second.store.executions_after(SOLE, last)] == ["e"]
    assert await second.store.last_before((await second.executions.row("default", "e")).key, last) == 0
