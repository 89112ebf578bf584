"""What people type to see and to control executions."""

import json
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import control_pb2 as control, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.cli import archives, execution_control, execution_page, executions, explanation, forks, waiting
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.cli.selection import Filters, Selection
from forgemesh.client import Status
from forgemesh.faults.control import ExecutionState
from forgemesh.faults.workflow import ExecutionNotFound, PayloadUnreadable
from tests.component.cli.typed import Screen, Typed
from tests.component.client.script import FAILED, RUNNING, SUCCEEDED, Script

EVERYTHING = Selection(everything=True)
CONFIRMED = Selection(everything=True, yes=True)


def listed(*ids: str) -> list[Execution]:
    return [Execution(execution_id=one, workflow="etl", status=RUNNING) for one in ids]


async def test_a_pause_tells_where_the_execution_stands_and_what_comes_next(typed: Typed) -> None:
    code = await execution_control.pause("x1", reason="bank down", line=typed.line())

    assert code == ExitCode.OK
    assert typed.rows == [["x1", "paused"]]
    assert typed.talk == ["let it go on with: forgemesh execution resume x1"]


async def test_a_program_gets_the_execution(typed: Typed) -> None:
    await execution_control.cancel("x1", line=typed.line(json=True))

    assert (typed.value["execution_id"], typed.value["status"]) == ("x1", "EXECUTION_STATUS_CANCELLING")
    assert typed.talk == []


async def test_one_that_refuses_is_the_fault_itself(typed: Typed, script: Script) -> None:
    script.refused = ("x1",)

    with pytest.raises(ExecutionState, match="see it with `forgemesh execution show x1`"):
        await execution_control.resume("x1", line=typed.line())


async def test_an_id_may_be_shortened(typed: Typed, script: Script) -> None:
    script.listed = listed("x1")
    await execution_control.terminate("x", line=typed.line())

    assert typed.rows == [["x1", "terminated"]]
    assert typed.talk == ["see how it ended: forgemesh execution show x1"]


async def test_nothing_is_done_if_one_of_several_is_not_there(typed: Typed, script: Script) -> None:
    script.listed = []

    with pytest.raises(ExecutionNotFound):
        await execution_control.terminate("x1", "nowhere", line=typed.line())

    assert not [one for one in script.requests if isinstance(one, control.ControlExecutionsRequest)]


async def test_what_becomes_of_all_is_a_table(typed: Typed, script: Script) -> None:
    script.listed, script.refused = listed("x1", "x2"), ("x2",)
    code = await execution_control.pause(selection=CONFIRMED, line=typed.line())

    assert code == ExitCode.REFUSED
    assert typed.rows[:2] == [["EXECUTION", "OUTCOME", "WHY"], ["x1", "done", "-"]]
    assert " ".join(typed.rows[2]) == "x2 refused execution 'x2' is SUCCEEDED and cannot be paused"
    assert typed.talk == ["1 execution done, 1 refused"]


async def test_what_becomes_of_all_is_a_list_for_programs(typed: Typed, script: Script) -> None:
    script.listed, script.refused = listed("x1", "x2"), ("x2",)
    await execution_control.pause(selection=CONFIRMED, line=typed.line(json=True))

    first, second = typed.value["results"]
    assert first == {"execution_id": "x1"}
    assert (second["execution_id"], second["error"]["reason"]) == ("x2", "EXECUTION_STATE")


async def test_all_are_those_to_which_it_can_be_done(typed: Typed, script: Script) -> None:
    script.listed = listed("x1")
    await execution_control.resume(selection=CONFIRMED, line=typed.line())
    await execution_control.delete(filters=Filters(status=(Status.FAILED,)), selection=CONFIRMED, line=typed.line())

    lists = [one for one in script.requests if isinstance(one, pb.ListExecutionsRequest)]
    assert [[Status.of(Execution(status=one)) for one in asked.filter.statuses] for asked in lists] == [
        [Status.PAUSING, Status.PAUSED],
        [Status.FAILED],
    ]


async def test_all_without_confirmation_and_without_anybody_to_ask_is_refused(typed: Typed, script: Script) -> None:
    script.listed = listed("x1", "x2")

    with pytest.raises(Problem, match="--all would terminate 2 executions, and nobody is there") as refused:
        await execution_control.terminate(selection=EVERYTHING, line=typed.line())

    assert (refused.value.exit_code, refused.value.hint) == (ExitCode.USAGE, "say --yes too")


async def test_whoever_is_there_is_shown_what_it_is_about_and_asked(typed: Typed, script: Script) -> None:
    script.listed = listed(*(f"x{number}" for number in range(7)))
    code = await execution_control.cancel(selection=EVERYTHING, line=typed.answering("y\n"))

    assert code == ExitCode.OK
    assert typed.talk[5:] == [
        "x4         etl       running",
        "... and 2 more",
        "cancel 7 executions? [y/N] 7 executions done",
    ]


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
async def test_anything_but_a_yes_leaves_everything_as_it_is(typed: Typed, script: Script, answer: str) -> None:
    script.listed = listed("x1")

    with pytest.raises(Problem, match="nothing was done"):
        await execution_control.cancel(selection=EVERYTHING, line=typed.answering(answer))

    assert not [one for one in script.requests if isinstance(one, control.ControlExecutionsRequest)]


async def test_nothing_that_fits_is_no_failure(typed: Typed, script: Script) -> None:
    script.listed = []
    code = await execution_control.cancel(selection=EVERYTHING, line=typed.line())

    assert code == ExitCode.OK
    assert typed.talk == ["there is nothing to cancel: no execution fits"]


async def test_a_signal_carries_what_was_typed(typed: Typed, script: Script) -> None:
    await execution_control.signal("x1", "approved", pairs=("by=ana", "n=3"), line=typed.line())

    assert script.requests[-1].signal.payload.data == b'{"by":"ana","n":3}'
    assert typed.out.getvalue() == "x1 has the signal\n"


async def test_a_signal_that_had_come_before_says_so(typed: Typed) -> None:
    await execution_control.signal("x1", "approved", signal_id="s1", line=typed.line(json=True))

    assert typed.value == {"execution_id": "x1", "signal": "approved", "received": False}


async def test_a_decision_says_what_shall_become_of_the_step(typed: Typed, script: Script) -> None:
    await execution_control.resolve("x1", "charge", action="retry", pairs=("card=4711",), line=typed.line())

    [asked] = [one for one in script.requests if isinstance(one, control.ControlExecutionsRequest)]
    assert (asked.resolve.step_path, asked.resolve.action) == ("charge", control.INCIDENT_ACTION_RETRY)
    assert asked.resolve.payload.data == b'{"card":4711}'


async def test_a_decision_for_all_needs_only_the_step(typed: Typed, script: Script) -> None:
    script.listed = listed("x1")
    await execution_control.resolve("charge", action="fail", selection=CONFIRMED, line=typed.line())

    first, second = script.requests
    assert first.filter.incidents_only
    assert list(second.execution_ids) == ["x1"]


async def test_what_is_deleted_is_not_looked_for(typed: Typed, script: Script) -> None:
    script.status = SUCCEEDED
    await execution_control.delete("x1", line=typed.line())

    assert typed.out.getvalue() == "x1 deleted\n"


async def test_a_fork_gives_its_id_and_how_to_follow_it(typed: Typed, script: Script) -> None:
    await forks.fork("x1", checkpoint="1-00000001", rerun=("charge",), pairs=("card=4711",), line=typed.line())

    asked = script.requests[-1]
    assert (asked.checkpoint_id, list(asked.rerun_steps)) == ("1-00000001", ["charge"])
    assert asked.input_patch.data == b'{"card":4711}'
    assert typed.out.getvalue() == "fork-1\n"
    assert typed.talk == ["started; see it with: forgemesh execution watch fork-1"]


async def test_checkpoints_are_a_table_with_the_command_that_uses_them(typed: Typed) -> None:
    await forks.checkpoints("x1", line=typed.line())

    assert typed.rows[0] == ["CHECKPOINT", "STEP", "STATUS", "ATTEMPT", "EXECUTION", "TIME"]
    assert typed.rows[1][:5] == ["1-00000001", "read", "succeeded", "1", "running"]
    assert typed.talk == ["start again from one with: forgemesh execution fork x1 --from CHECKPOINT"]


async def test_an_export_is_a_file_that_is_not_written_over(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "x1.execution"
    await archives.export("x1", str(file), line=typed.line())

    assert file.read_bytes() == b"half of the archive"
    assert typed.talk == [f"take it over elsewhere with: forgemesh execution import {file}"]
    with pytest.raises(Problem, match="is there already"):
        await archives.export("x1", str(file), line=typed.line())
    await archives.export("x1", str(file), force=True, line=typed.line())


async def test_a_file_that_cannot_be_written_is_named(typed: Typed, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"cannot write .*nowhere/x1: No such file or directory"):
        await archives.export("x1", str(tmp_path / "nowhere" / "x1"), line=typed.line())


async def test_an_import_tells_where_the_execution_stands(typed: Typed, script: Script, tmp_path: Path) -> None:
    file = tmp_path / "x1.execution"
    file.write_bytes(b"an archive")
    await archives.import_(str(file), execution_id="x9", line=typed.line())

    assert script.imported == b"an archive"
    assert typed.rows == [["x1", "paused"]]


async def test_an_import_of_a_file_that_is_not_there_is_wrong_usage(typed: Typed) -> None:
    with pytest.raises(Problem, match="cannot read nowhere: No such file or directory") as problem:
        await archives.import_("nowhere", line=typed.line())

    assert problem.value.exit_code == ExitCode.USAGE


async def test_a_list_says_why_something_does_not_run(typed: Typed, script: Script) -> None:
    script.listed = [
        Execution(execution_id="x1", workflow="etl", status=RUNNING, suspended_reason="store unavailable"),
        Execution(
            execution_id="x2",
            workflow="etl",
            status=ExecutionStatus.EXECUTION_STATUS_PAUSED,
            stopped_by="ana",
            stopped_reason="bank down",
        ),
    ]
    await executions.list_(filters=Filters(open_only=True), order="oldest", line=typed.line())

    lines = typed.out.getvalue().splitlines()
    assert lines[1].endswith("suspended: store unavailable")
    assert lines[2].endswith("by ana: bank down")
    assert script.requests[0].order == pb.EXECUTION_ORDER_STARTED_ASCENDING
    assert script.requests[0].filter == control.ExecutionFilter(open_only=True)


async def test_a_list_may_reach_back_in_time(typed: Typed, script: Script) -> None:
    await executions.list_(filters=Filters(since="1d", before="1h"), line=typed.line(json=True))

    asked = script.requests[0].filter
    assert asked.started_before.seconds - asked.started_from.seconds == 23 * 3600
    assert len(typed.value["executions"]) == 7


async def test_a_page_of_one_execution_ends_with_what_to_type_next(typed: Typed) -> None:
    await execution_page.show("x1", line=typed.line())

    assert typed.rows[0] == ["execution", "x1"]
    assert typed.talk == ["see what it waits for: forgemesh execution explain x1"]


async def test_an_explanation_is_a_sentence_and_a_table(typed: Typed, script: Script) -> None:
    script.explanation = control.ExplainExecutionResponse(
        summary="SIGNAL: step 'approve': send it",
        hindrances=[control.Hindrance(step_path="approve", reason="SIGNAL", since=Timestamp(seconds=1))],
    )
    await explanation.explain("x1", line=typed.line())

    assert typed.out.getvalue().splitlines()[:2] == ["SIGNAL: step 'approve': send it", ""]
    assert typed.rows[2] == ["STEP", "WHY", "SINCE", "GOES", "ON", "WHAT", "TO", "DO"]


async def test_an_explanation_for_programs_is_the_message(typed: Typed, script: Script) -> None:
    script.explanation = control.ExplainExecutionResponse(status=RUNNING, summary="It is moving.")
    await explanation.explain("x1", line=typed.line(json=True))

    assert json.loads(typed.out.getvalue()) == {"status": "EXECUTION_STATUS_RUNNING", "summary": "It is moving."}


@pytest.mark.parametrize("data", [b'{"v": NaN} \x1b[2J', b"\xff\xfe"])
async def test_an_output_that_cannot_be_read_is_shown_escaped_and_said_to_be_so(
    typed: Typed, script: Script, data: bytes
) -> None:
    script.status, script.output = SUCCEEDED, Payload(data=data)
    await execution_page.show("x1", line=typed.line())

    assert "cannot be read" in typed.err.getvalue()
    assert typed.out.getvalue().splitlines()[-1].isprintable()


async def test_whoever_follows_to_an_output_that_cannot_be_read_gets_it_and_the_reason(
    typed: Typed, script: Script
) -> None:
    script.output = Payload(data=b'{"v": NaN}')
    script.status = RUNNING

    with pytest.raises(PayloadUnreadable):
        await executions.watch("x1", line=typed.line())

    assert typed.out.getvalue().splitlines()[-1] == '{"v": NaN}'


RUN_ID = "01jd8x3k5v2m7q9r4t6w8y0abc"


async def test_an_execution_is_named_by_its_id_and_run(typed: Typed, script: Script) -> None:
    await executions.watch(f"x1@{RUN_ID}", line=typed.line())

    assert script.named[0] == f"x1@{RUN_ID}"


async def test_a_run_that_is_not_there_is_not_searched_for(typed: Typed, script: Script) -> None:
    script.listed = listed("x22")
    with pytest.raises(ExecutionNotFound):
        await execution_control.cancel(f"x2@{RUN_ID}", line=typed.line())


async def test_the_newest_one_is_named_with_its_run(typed: Typed, script: Script) -> None:
    script.listed = [Execution(execution_id="x1", run_id=RUN_ID, workflow="etl", status=RUNNING)]
    await execution_control.cancel("@last", line=typed.line())

    assert script.named[0] == f"x1@{RUN_ID}"


async def test_all_that_fit_are_meant_as_the_runs_that_they_are(typed: Typed, script: Script) -> None:
    script.listed = [Execution(execution_id="x1", run_id=RUN_ID, workflow="etl", status=RUNNING)]
    await execution_control.cancel(selection=CONFIRMED, line=typed.line())

    assert list(script.requests[-1].execution_ids) == [f"x1@{RUN_ID}"]
    assert typed.rows == [["EXECUTION", "RUN", "OUTCOME", "WHY"], ["x1", RUN_ID, "done", "-"]]


async def test_a_command_says_which_run_it_met(typed: Typed, script: Script) -> None:
    script.listed = [Execution(execution_id="x1", run_id=RUN_ID, workflow="etl", status=RUNNING)]
    await execution_control.delete(selection=CONFIRMED, line=typed.line(json=True))

    assert typed.value == {"results": [{"execution_id": "x1", "run_id": RUN_ID}]}


async def test_an_archive_is_not_written_to_a_screen(typed: Typed) -> None:
    typed.out = Screen()

    with pytest.raises(Problem) as refused:
        await archives.export("x1", "-", line=typed.line())

    assert refused.value.exit_code == ExitCode.USAGE
    assert "forgemesh execution export x1" in refused.value.hint
    assert typed.out.getvalue() == ""


async def test_an_end_is_waited_for_and_told(typed: Typed) -> None:
    await waiting.wait("x1", line=typed.line())

    assert typed.rows == [["x1", "succeeded"]]


async def test_another_status_may_be_waited_for(typed: Typed, script: Script) -> None:
    script.status, script.turns = RUNNING, {2: {"execution_paused": {}}}
    await waiting.wait("x1", until=(Status.PAUSED, Status.FAILED), line=typed.line())

    assert typed.rows == [["x1", "paused"]]


async def test_a_status_that_can_not_come_any_more_is_no_success(typed: Typed) -> None:
    with pytest.raises(Problem, match=r"has ended \(succeeded\) and will not be paused") as caught:
        await waiting.wait("x1", until=(Status.PAUSED,), line=typed.line())

    assert caught.value.exit_code == ExitCode.FAILED


async def test_a_wait_that_runs_out_leaves_the_execution_alone(typed: Typed, script: Script) -> None:
    script.status, script.turns = RUNNING, {2: {"execution_paused": {}}}
    for command in (waiting.wait, waiting.result):
        with pytest.raises(Problem, match="it goes on") as caught:
            await command("x1", timeout="0.1s", line=typed.line())
        assert caught.value.exit_code == ExitCode.TIMED_OUT


async def test_a_result_is_data_alone(typed: Typed) -> None:
    await waiting.result("x1", line=typed.line())

    assert typed.value == {"rows": 3}
    assert typed.talk == []


async def test_a_result_of_what_failed_is_why(typed: Typed, script: Script) -> None:
    script.status, script.failure = FAILED, Failure(reason="BANK_DOWN", message="closed", step_path="charge")

    with pytest.raises(Problem, match="x1 failed at charge") as caught:
        await waiting.result("x1", line=typed.line())
    assert caught.value.exit_code == ExitCode.FAILED
    assert typed.out.getvalue() == ""
