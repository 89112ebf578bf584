"""What a caller does to one execution."""

from pathlib import Path

import pytest

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import control_pb2 as control, event_pb2 as events
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client import (
    Client,
    ExecutionFailed,
    ExecutionHandle,
    Status,
)
from forgemesh.client.archive import PIECE
from forgemesh.faults.control import ExecutionState
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import ExecutionNotFound
from tests.component.client.script import PAUSED, RUNNING, Script

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
