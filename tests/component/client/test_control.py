"""What a caller does to executions, to one and to many."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import control_pb2 as control, event_pb2 as events, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client import (
    Cancel,
    Client,
    Delete,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionHandle,
    Pause,
    Resolve,
    Resume,
    Signal,
    Start,
    Status,
    Terminate,
)
from forgemesh.client.archive import PIECE
from forgemesh.client.failure import refusal
from forgemesh.faults import ForeignFault
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import DefinitionNotFound, ExecutionNotFound, ExecutionState
from tests.component.client.script import FAILED, PAUSED, RUNNING, Script

JSON = "application/json"


@pytest.fixture
async def execution(mesh: Client, script: Script) -> ExecutionHandle:
    script.status = RUNNING
    return await mesh.execution("x1")


async def test_each_action_says_everything_it_was_told(execution: ExecutionHandle, script: Script) -> None:
    await execution.pause("interrupt", hold_clock=True, reason="bank down", by="ana")
    await execution.resume("7-0000abcd", by="ana")
    await execution.cancel("too late", by="ana")
    await execution.terminate("stuck", by="ana")
    await execution.signal("approved", {"by": "ana"}, signal_id="s1", by="ana")
    await execution.resolve("charge", "retry", {"card": 4711}, reason="new card", by="ana")
    await execution.delete()

    key = {"namespace": "default", "execution_id": "x1"}
    assert script.requests == [
        control.PauseExecutionRequest(
            **key, mode=control.PAUSE_MODE_INTERRUPT, hold_clock=True, by="ana", reason="bank down"
        ),
        control.ResumeExecutionRequest(**key, checkpoint_id="7-0000abcd", by="ana"),
        control.CancelExecutionRequest(**key, by="ana", reason="too late"),
        control.TerminateExecutionRequest(**key, by="ana", reason="stuck"),
        control.SignalExecutionRequest(
            **key,
            signal=control.Signal(
                name="approved", payload=Payload(media_type=JSON, data=b'{"by":"ana"}'), signal_id="s1"
            ),
            by="ana",
        ),
        control.ResolveIncidentRequest(
            **key,
            step_path="charge",
            action=control.INCIDENT_ACTION_RETRY,
            payload=Payload(media_type=JSON, data=b'{"card":4711}'),
            by="ana",
            reason="new card",
        ),
        control.DeleteExecutionRequest(**key),
    ]


async def test_who_asks_is_the_user_at_the_host_unless_somebody_is_named(
    execution: ExecutionHandle, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    await execution.pause()

    assert script.requests[0].by == "ana@desk"


async def test_an_action_answers_with_where_the_execution_stands(execution: ExecutionHandle) -> None:
    paused = await execution.pause()

    assert Status.of(paused) is Status.PAUSED
    assert execution.last_seen == paused


async def test_a_signal_tells_whether_it_had_come_before(execution: ExecutionHandle) -> None:
    first, again = await execution.signal("approved"), await execution.signal("approved", signal_id="s1")

    assert (first, again) == (True, False)


async def test_what_is_not_possible_now_is_refused_with_the_state(execution: ExecutionHandle, script: Script) -> None:
    script.refused = ("x1",)

    with pytest.raises(ExecutionState, match="is SUCCEEDED and cannot be cancelled; see it with"):
        await execution.cancel()


@pytest.mark.parametrize("status", ["CANCELLED", "TERMINATED", "TIMED_OUT", "COMPENSATED", "COMPENSATION_FAILED"])
async def test_every_end_but_a_good_one_is_a_failure_that_says_how(mesh: Client, script: Script, status: str) -> None:
    script.status = ExecutionStatus.Value(f"EXECUTION_STATUS_{status}")
    script.failure = Failure(code=9, reason="NO_STOCK", message="none is left", step_path="ship")
    script.left_to_do = ("charge", "reserve")
    execution = await mesh.execution("x1")

    with pytest.raises(ExecutionFailed, match="none is left") as failed:
        await execution.result()

    assert failed.value.status is Status[status]
    assert failed.value.left_to_do == ("charge", "reserve")


async def test_a_failure_says_how_it_ended(mesh: Client, script: Script) -> None:
    script.status = ExecutionStatus.EXECUTION_STATUS_COMPENSATION_FAILED
    script.failure = Failure(code=9, reason="NO_STOCK", message="none is left", step_path="ship")
    execution = await mesh.execution("x1")

    with pytest.raises(ExecutionFailed) as failed:
        await execution.result()

    assert str(failed.value) == "execution 'x1' failed and could not be undone at 'ship': none is left"


async def test_a_status_can_be_waited_for(execution: ExecutionHandle, script: Script) -> None:
    script.turns = {3: {"execution_paused": events.ExecutionPaused()}}

    paused = await execution.wait({Status.PAUSED}, timeout=10)

    assert Status.of(paused) is Status.PAUSED


async def test_waiting_for_a_status_ends_with_the_execution(execution: ExecutionHandle) -> None:
    ended = await execution.wait({Status.PAUSED}, timeout=10)

    assert Status.of(ended) is Status.SUCCEEDED


async def test_a_wait_looks_first(execution: ExecutionHandle, script: Script) -> None:
    script.status = PAUSED

    assert Status.of(await execution.wait({Status.PAUSED}, timeout=10)) is Status.PAUSED
    assert script.requests == []


async def test_an_execution_whose_id_was_given_away_is_still_the_one_that_is_held(mesh: Client, script: Script) -> None:
    execution = await mesh.execution("x1")
    first, script.trace_id = script.trace_id, "cd" * 16
    script.listed = [Execution(execution_id="x1~1", trace_id="ef" * 16), Execution(execution_id="x1~2", trace_id=first)]

    with pytest.raises(ExecutionNotFound) as asked:
        await execution.describe()

    assert asked.value.metadata == {"execution_id": "x1~2"}


async def test_a_fork_says_everything_it_was_told(execution: ExecutionHandle, script: Script) -> None:
    fork = await execution.fork(
        "7-0000abcd",
        input_patch={"card": 4711},
        rerun_steps=["charge"],
        version="1.1.0",
        execution_id="x2",
        request_id="r1",
        keep_signals=True,
    )

    assert script.requests == [
        control.ForkExecutionRequest(
            namespace="default",
            execution_id="x1",
            checkpoint_id="7-0000abcd",
            new_execution_id="x2",
            request_id="r1",
            workflow_version="1.1.0",
            input_patch=Payload(media_type=JSON, data=b'{"card":4711}'),
            rerun_steps=["charge"],
            keep_signals=True,
        )
    ]
    assert fork.id == "x2"


async def test_all_checkpoints_come_page_by_page(execution: ExecutionHandle) -> None:
    assert [one.checkpoint_id for one in await execution.checkpoints()] == ["1-00000001", "2-00000002"]


async def test_an_explanation_comes_as_the_engine_gives_it(execution: ExecutionHandle, script: Script) -> None:
    script.explanation = control.ExplainExecutionResponse(summary="It is moving.")

    assert (await execution.explain()).summary == "It is moving."


async def test_an_export_is_a_whole_file(execution: ExecutionHandle, tmp_path: Path) -> None:
    await execution.export(tmp_path / "x1.execution")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x1.execution", b"half of the archive")]


async def test_an_export_that_breaks_off_leaves_the_file_as_it_was(
    execution: ExecutionHandle, script: Script, tmp_path: Path
) -> None:
    script.refused = ("x1",)
    file = tmp_path / "x1.execution"
    file.write_bytes(b"an older one")

    with pytest.raises(ShuttingDown):
        await execution.export(file)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x1.execution", b"an older one")]


@pytest.mark.parametrize("size", [0, 3, PIECE, PIECE + 1])
async def test_an_import_travels_in_pieces(mesh: Client, script: Script, tmp_path: Path, size: int) -> None:
    file = tmp_path / "x1.execution"
    file.write_bytes(b"z" * size)

    from_file = await mesh.import_execution(file, execution_id="x9", namespace="lab")
    from_memory = await mesh.import_execution(b"z" * size)

    assert Status.of(from_file.last_seen) is Status.of(from_memory.last_seen) is Status.PAUSED
    assert script.imported == b"z" * 2 * size
    assert script.requests[0] == ("lab", "x9", min(size, PIECE))
    assert all(piece <= PIECE for _, _, piece in script.requests)


async def test_a_file_that_is_not_there_is_said_to_be_so(mesh: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await mesh.import_execution(tmp_path / "nowhere")


async def test_a_start_says_its_policies_priority_and_signal(mesh: Client, script: Script) -> None:
    await mesh.start(
        "etl",
        request_id="r1",
        id_reuse="allow_duplicate_failed_only",
        id_conflict="use_existing",
        priority=-3,
        signal=Signal(name="go", signal_id="s1"),
        paused=True,
    )

    assert script.requests == [
        pb.StartExecutionRequest(
            namespace="default",
            workflow="etl",
            request_id="r1",
            id_reuse_policy=pb.ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=pb.ID_CONFLICT_POLICY_USE_EXISTING,
            priority=-3,
            signal=control.Signal(name="go", signal_id="s1"),
            paused=True,
        )
    ]


async def test_many_starts_are_handles_and_refusals_in_order(mesh: Client, script: Script) -> None:
    first, second, third = await mesh.start_many(
        [Start(workflow="etl", execution_id="a"), Start(workflow="elt"), Start(workflow="etl", execution_id="c")],
        traceparent="00-x",
    )

    assert isinstance(first, ExecutionHandle)
    assert isinstance(third, ExecutionHandle)
    assert (first.id, third.id) == ("a", "c")
    assert isinstance(second, DefinitionNotFound)
    assert second.metadata == {"name": "elt", "version": "", "known": "etl"}
    assert script.metadata["traceparent"] == "00-x"


async def test_more_starts_than_a_call_carries_are_several_calls(mesh: Client, script: Script) -> None:
    large = "z" * 1_500_000
    many = await mesh.start_many([Start(workflow="etl") for _ in range(1001)])
    heavy = await mesh.start_many([Start(workflow="etl", input=large) for _ in range(3)])

    assert (len(many), len(heavy)) == (1001, 3)
    assert [len(request.requests) for request in script.requests] == [1000, 1, 2, 1]


async def test_many_are_controlled_by_filter(mesh: Client, script: Script) -> None:
    script.refused = ("x2",)
    where = ExecutionFilter(workflows=["etl"], statuses=[Status.RUNNING])
    outcome = await mesh.control_many(where, Pause(reason="bank down", by="ana"), namespace="lab")

    [request] = script.requests
    assert request == control.ControlExecutionsRequest(
        namespace="lab",
        filter=control.ExecutionFilter(workflows=["etl"], statuses=[RUNNING]),
        pause=control.PauseExecutionRequest(mode=control.PAUSE_MODE_DRAIN, by="ana", reason="bank down"),
    )
    assert outcome.done == ("x0", "x1", "x3", "x4", "x5", "x6")
    assert [type(fault) for fault in outcome.refused.values()] == [ExecutionState]
    assert outcome.more


async def test_many_are_controlled_by_id_in_as_many_calls_as_it_takes(mesh: Client, script: Script) -> None:
    outcome = await mesh.control_many([f"x{number}" for number in range(2001)], Cancel())

    assert [len(request.execution_ids) for request in script.requests] == [1000, 1000, 1]
    assert (len(outcome.done), outcome.more) == (2001, False)


async def test_an_id_alone_is_not_taken_for_its_letters(mesh: Client, script: Script) -> None:
    await mesh.control_many("x1", Terminate())

    assert script.requests[0].execution_ids == ["x1"]


@pytest.mark.parametrize(
    "action",
    [
        Pause(),
        Resume(),
        Cancel(),
        Terminate(),
        Signal(name="go"),
        Resolve(step_path="charge", action="complete"),
        Delete(),
    ],
    ids=lambda action: action.verb,
)
async def test_each_action_can_be_done_to_many(
    mesh: Client,
    script: Script,
    action: Pause | Resume | Cancel | Terminate | Signal | Resolve | Delete,
) -> None:
    await mesh.control_many(["x1"], action)

    assert script.requests[0].WhichOneof("action") == action.verb


async def test_a_list_is_narrowed_and_ordered(mesh: Client, script: Script) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    await mesh.list_executions(
        ExecutionFilter(
            workflows=["etl", "elt"],
            workflow_version="1.0.0",
            statuses={Status.TIMED_OUT, Status.FAILED},
            open_only=True,
            incidents_only=True,
            id_prefix="x",
            started_from=noon - timedelta(hours=1),
            started_before=noon,
            parent_execution_id="p",
            schedule_id="nightly",
            concurrency_key="k",
        ),
        order="ended_ascending",
        limit=1,
    )

    [request] = script.requests
    assert request.order == pb.EXECUTION_ORDER_ENDED_ASCENDING
    assert request.filter == control.ExecutionFilter(
        workflows=["etl", "elt"],
        workflow_version="1.0.0",
        statuses=[FAILED, ExecutionStatus.EXECUTION_STATUS_TIMED_OUT],
        open_only=True,
        incidents_only=True,
        id_prefix="x",
        started_from=Timestamp(seconds=1_795_431_600),
        started_before=Timestamp(seconds=1_795_435_200),
        parent_execution_id="p",
        schedule_id="nightly",
        concurrency_key="k",
    )


async def test_a_moment_without_a_zone_is_refused(mesh: Client) -> None:
    naive = datetime.fromisoformat("2026-11-23T12:00:00")

    with pytest.raises(ValueError, match="2026-11-23T12:00:00 has no time zone"):
        await mesh.list_executions(ExecutionFilter(started_from=naive))


async def test_a_definition_is_checked_and_read(mesh: Client) -> None:
    checked, read = await asyncio.gather(mesh.validate("name: etl"), mesh.definition("etl", "1.2.0"))

    assert checked.warnings == ["step 'a' has no timeout"]
    assert (read.version, read.source) == ("1.2.0", "name: etl\n")


async def test_the_orchestrator_says_how_it_does(mesh: Client) -> None:
    assert (await mesh.orchestrator()).running == 3


def test_every_status_of_the_api_has_its_own() -> None:
    known = [ExecutionStatus.Name(number) for number in ExecutionStatus.values() if number]

    assert sorted(f"EXECUTION_STATUS_{status.name}" for status in Status) == sorted(known)
    assert all(isinstance(one, Status) for one in map(Status.of, (Execution(status=s.number) for s in Status)))


def test_a_refusal_that_this_release_does_not_know_keeps_its_words() -> None:
    fault = refusal(Failure(code=9, reason="FROM_TOMORROW", message="not yet", retry_after_millis=1500))

    assert isinstance(fault, ForeignFault)
    assert (fault.foreign_reason, fault.message, fault.retry_after) == ("FROM_TOMORROW", "not yet", 1.5)
