import pytest

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import event_pb2 as pb
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.cli.progress import TELLERS, Progress, counted, duration

MS = 1_000_000


def at(milliseconds: int, step: str = "", **kind: object) -> pb.ExecutionEvent:
    event = pb.ExecutionEvent(unix_nano=milliseconds * MS, step_path=step, **kind)  # type: ignore[arg-type]
    assert event.WhichOneof("kind")
    return event


def told(*events: pb.ExecutionEvent) -> tuple[Progress, list[str]]:
    progress = Progress()
    lines = [progress.take(event) for event in events]
    return progress, [str(line) for line in lines if line is not None]


STARTED = at(0, execution_started=pb.ExecutionStarted(workflow="etl"))


def tried(milliseconds: int, step: str, attempt: int = 1) -> pb.ExecutionEvent:
    return at(milliseconds, step, attempt_started=pb.AttemptStarted(attempt=attempt))


def done(milliseconds: int, step: str, instance: str, attempt: int = 1) -> pb.ExecutionEvent:
    return at(
        milliseconds,
        step,
        attempt_succeeded=pb.AttemptSucceeded(attempt=attempt, dispatch=pb.Dispatch(instance_id=instance)),
    )


def test_a_step_is_one_line_with_its_duration_and_its_instance() -> None:
    progress, lines = told(STARTED, tried(1, "read"), done(13, "read", "reader-1"))

    assert [" ".join(line.split()) for line in lines] == ["✓ read 12 ms reader-1"]
    assert progress.open_steps() == []


def test_a_retry_says_why_and_when_and_the_step_counts_from_its_first_attempt() -> None:
    failed = pb.AttemptFailed(
        attempt=1,
        failure=Failure(reason="HOST_LOST", message="it was lost"),
        dispatch=pb.Dispatch(instance_id="reader-1"),
        next_attempt_unix_nano=300 * MS,
    )
    progress, lines = told(
        STARTED,
        tried(0, "read"),
        at(100, "read", attempt_failed=failed),
        tried(300, "read", 2),
        done(3400, "read", "reader-2", 2),
        at(3500, execution_succeeded=pb.ExecutionSucceeded()),
    )

    assert [" ".join(line.split()) for line in lines] == [
        "⟳ read reader-1 · attempt 1 failed: HOST_LOST, it was lost · next in 200 ms",
        "✓ read 3.4 s reader-2 · attempt 2",
    ]
    assert progress.summary() == "succeeded in 3.5 s · 1 step · 1 retry"


def test_a_blocked_step_says_its_reason() -> None:
    blocked = pb.StepBlocked(attempt=1, reason="CIRCUIT_OPEN", message="the next trial call is due in 3.0 s")
    _, lines = told(tried(0, "read"), at(1, "read", step_blocked=blocked))

    assert [" ".join(line.split()) for line in lines] == [
        "⏸ read waits: CIRCUIT_OPEN, the next trial call is due in 3.0 s"
    ]


def test_a_group_names_its_branches() -> None:
    _, lines = told(at(0, "analyse", group_started=pb.GroupStarted(branches=["wind", "rain"])))

    assert " ".join(lines[0].split()) == "→ analyse wind, rain"


def test_the_calls_under_way_are_known() -> None:
    progress, _ = told(tried(0, "a/x/x"), tried(0, "a/y/y"), done(1, "a/x/x", "i"))

    assert progress.open_steps() == ["a/y/y"]


def test_an_execution_that_failed_says_so() -> None:
    failure = Failure(code=3, reason="CSV_EMPTY", message="the file is empty", step_path="read")
    last = pb.AttemptFailed(attempt=1, failure=failure)
    progress, lines = told(
        STARTED,
        tried(0, "read"),
        at(5, "read", attempt_failed=last),
        at(6, execution_failed=pb.ExecutionFailed(failure=failure)),
    )

    assert [" ".join(line.split()) for line in lines] == ["✗ read 5 ms failed: CSV_EMPTY"]
    assert progress.summary() == "failed in 6 ms · 1 step"
    assert progress.failure == failure


def test_a_step_that_is_cancelled_or_skipped_is_told() -> None:
    _, lines = told(
        tried(0, "a/x"),
        at(1, "a/x", step_cancelled=pb.StepCancelled()),
        at(2, "b", step_skipped=pb.StepSkipped(reason="NO_CASE_MATCHED")),
    )

    assert [" ".join(line.split()) for line in lines] == ["- a/x cancelled", "- b skipped: NO_CASE_MATCHED"]


def test_a_call_that_was_taken_back_has_not_failed() -> None:
    taken_back = pb.AttemptFailed(attempt=1, failure=Failure(code=1, reason="CANCELLED", message="by a failure"))
    _, lines = told(tried(0, "a/x/x"), at(5, "a/x/x", attempt_failed=taken_back))

    assert [" ".join(line.split()) for line in lines] == ["- a/x/x 5 ms cancelled"]


def test_a_takeover_by_another_orchestrator_is_told() -> None:
    _, lines = told(at(0, execution_recovered=pb.ExecutionRecovered(orchestrator_id="o-2")))

    assert "another orchestrator process goes on with it" in lines[0]


def test_a_message_cannot_move_the_cursor() -> None:
    failure = Failure(reason="X", message="\x1b[2Jgone\nand more")
    _, lines = told(at(0, "a", step_failed=pb.StepFailed(failure=failure)))

    assert "\x1b" not in lines[0]
    assert "\n" not in lines[0]


def words(*events: pb.ExecutionEvent) -> list[str]:
    return [" ".join(line.split()) for line in told(*events)[1]]


def test_a_pause_says_who_asked_and_why_and_ends_with_a_resumption() -> None:
    asked = pb.PauseRequested(by="ana", reason="bank down", interrupt=True)

    assert words(
        at(0, pause_requested=asked),
        at(1, execution_paused=pb.ExecutionPaused()),
        at(2, execution_resumed=pb.ExecutionResumed(by="ben")),
    ) == [
        "⏸ asked to pause by ana: bank down · what runs is taken back",
        "⏸ paused until somebody resumes it",
        "▸ resumed by ben",
    ]


def test_a_cancellation_undoes_what_was_done_and_says_so() -> None:
    failure = Failure(code=1, reason="EXECUTION_CANCELLED", message="it was cancelled")
    progress, _ = told(
        STARTED,
        tried(0, "charge"),
        done(5, "charge", "bank-1"),
        at(6, cancel_requested=pb.CancelRequested(by="ana")),
        at(7, compensation_started=pb.CompensationStarted(failure=failure)),
        tried(8, "charge:compensate"),
        done(10, "charge:compensate", "bank-1"),
        at(11, execution_failed=pb.ExecutionFailed(failure=failure, status="COMPENSATED")),
    )

    assert progress.summary() == "compensated in 11 ms · 1 step · 1 undone"


def test_undoing_is_told_apart_from_doing() -> None:
    failure = Failure(reason="NO_STOCK", message="none is left")

    assert words(
        at(0, compensation_started=pb.CompensationStarted(failure=failure)),
        tried(0, "charge:compensate"),
        done(10, "charge:compensate", "bank-1"),
    ) == ["↶ what was done is undone: NO_STOCK, none is left", "↶ charge:compensate 10 ms bank-1"]


def test_an_execution_waits_for_its_place() -> None:
    queued = pb.ExecutionStarted(queued=True, concurrency_key="ana")

    assert words(at(0, execution_started=queued), at(9, execution_admitted=pb.ExecutionAdmitted())) == [
        "⏸ waits for a place under its concurrency key ana",
        "▸ has its place under its concurrency key",
    ]


def test_a_fork_names_its_origin_and_what_it_took_over() -> None:
    forked = pb.ExecutionStarted(origin=pb.Origin(forked_from="x0"))

    assert words(at(0, execution_started=forked), at(0, "read", result_taken=pb.ResultTaken())) == [
        "⑂ a fork of execution x0",
        "= read taken over from the origin",
    ]


def test_a_wait_says_for_what_and_how_long() -> None:
    progress, lines = told(
        at(0, "nap", wait_started=pb.WaitStarted(until_unix_nano=3000 * MS)),
        at(0, "approve", wait_started=pb.WaitStarted(signal="approved", until_unix_nano=60_000 * MS)),
        at(0, "for_ever", wait_started=pb.WaitStarted(signal="approved")),
    )

    assert [" ".join(line.split()) for line in lines] == [
        "⏲ nap waits 3.0 s",
        "⏲ approve waits for signal approved at most 1 m 00 s",
        "⏲ for_ever waits for signal approved",
    ]
    assert progress.open_steps() == ["nap", "approve", "for_ever"]


def test_a_wait_ends_with_its_signal() -> None:
    assert words(
        at(0, "approve", wait_started=pb.WaitStarted(signal="approved")),
        at(5, signal_received=pb.SignalReceived(name="approved", by="ana")),
        at(6, "approve", wait_ended=pb.WaitEnded(signal_sequence=2)),
    )[1:] == ["✉ signal approved by ana", "✓ approve 6 ms the signal has come"]


def test_a_wait_that_is_skipped_is_not_under_way_any_more() -> None:
    progress, _ = told(
        at(0, "approve", wait_started=pb.WaitStarted(signal="approved")),
        at(5, "approve", step_skipped=pb.StepSkipped(reason="WAIT_TIMEOUT")),
    )

    assert progress.open_steps() == []


def test_a_step_that_waits_for_a_person_says_so_until_somebody_decides() -> None:
    failure = Failure(reason="BANK_DOWN", message="no answer")
    used_up = pb.AttemptFailed(attempt=3, failure=failure, incident="EXHAUSTED")

    assert words(
        tried(0, "charge", 3),
        at(5, "charge", attempt_failed=used_up),
        at(9, "charge", incident_resolved=pb.IncidentResolved(action="complete", by="ana", reason="paid by hand")),
    ) == [
        "! charge 5 ms attempt 3 failed: BANK_DOWN, no answer · waits for a person",
        "▸ charge counts as succeeded by ana: paid by hand",
    ]


def test_a_step_whose_fate_is_unknown_has_not_failed() -> None:
    lost = pb.AttemptFailed(attempt=1, failure=Failure(reason="HOST_LOST", message="lost"), incident="IN_DOUBT")

    assert (
        "may have taken effect: HOST_LOST, lost" in words(tried(0, "charge"), at(5, "charge", attempt_failed=lost))[0]
    )


def test_a_step_that_cannot_begin_waits_for_a_person() -> None:
    opened = pb.IncidentOpened(failure=Failure(reason="EXPRESSION_ERROR", message="no such key"))

    assert words(at(0, "charge", incident_opened=opened)) == [
        "! charge 0.0 ms EXPRESSION_ERROR, no such key · waits for a person"
    ]


def test_a_map_counts_its_items_and_tells_its_end() -> None:
    began = pb.GroupStarted(items=Payload(data=b"[1,2]"), count=2)

    assert words(at(0, "each", group_started=began), at(9, "each", group_succeeded=pb.GroupSucceeded())) == [
        "→ each 2 items",
        "✓ each 9 ms all items",
    ]


def test_a_group_that_ends_early_says_why() -> None:
    failure = Failure(reason="NO_STOCK", message="none is left")

    assert words(
        at(0, "any", stop_requested=pb.StopRequested()), at(0, "all", stop_requested=pb.StopRequested(failure=failure))
    ) == ["■ any ends early: enough branches have succeeded", "■ all ends early: NO_STOCK, none is left"]


def test_variables_and_children_and_kept_results_are_told() -> None:
    child = pb.AttemptStarted(attempt=1, child_execution_id="x1.ship")
    kept = pb.AttemptSucceeded(attempt=1, dispatch=pb.Dispatch(cached=True))

    assert words(
        at(0, "sum", variables_set=pb.VariablesSet(values={"b": Payload(), "a": Payload()})),
        at(0, "ship", attempt_started=child),
        at(0, "read", attempt_succeeded=kept),
    ) == ["= sum sets a, b", "→ ship execution x1.ship", "✓ read 0.0 ms kept from before"]


def test_a_child_that_refuses_a_command_and_a_place_that_is_given_up_are_told() -> None:
    failure = Failure(reason="EXECUTION_STATE", message="it is undoing what it did")
    refused = pb.ChildCommandRefused(child_execution_id="x1-ship", command="pause", failure=failure)

    assert words(at(0, "ship", child_command_refused=refused), at(0, execution_queued=pb.ExecutionQueued())) == [
        "! ship execution x1-ship refuses to pause: EXECUTION_STATE, it is undoing what it did",
        "⏸ gives up its place under its concurrency key: others held all of them",
    ]


def test_rounds_of_a_loop_and_the_pauses_between_them_are_told() -> None:
    judged = pb.RoundJudged(index=0, next_round_unix_nano=5_000 * MS)

    assert words(
        at(0, "poll", group_started=pb.GroupStarted()),
        at(0, "poll", round_judged=judged),
        at(5_000, "poll", round_started=pb.RoundStarted(index=1)),
        at(5_000, "poll", round_judged=pb.RoundJudged(index=1, next_round_unix_nano=5_000 * MS)),
        at(5_000, "poll", round_judged=pb.RoundJudged(index=2, done=True)),
    ) == ["→ poll", "⏲ poll next round in 5.0 s", "→ poll round 1"]


def test_what_a_newer_mesh_tells_and_this_client_does_not_know_is_said_to_be_that() -> None:
    (line,) = told(pb.ExecutionEvent(sequence=7, step_path="x"))[1]

    assert "x" in line
    assert "of a kind that this release of the client does not know; install that of the mesh" in line


def test_every_kind_of_event_can_be_told() -> None:
    kinds = [field.name for field in pb.ExecutionEvent.DESCRIPTOR.oneofs_by_name["kind"].fields]
    progress = Progress()
    for kind in kinds:
        event = pb.ExecutionEvent()
        getattr(event, kind).SetInParent()
        progress.take(event)

    assert set(kinds) == set(TELLERS)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.0 ms"),
        (400_000, "0.4 ms"),
        (12 * MS, "12 ms"),
        (3_400 * MS, "3.4 s"),
        (125_000 * MS, "2 m 05 s"),
        (3_900_000 * MS, "1 h 05 m"),
        (-5, "0.0 ms"),
    ],
)
def test_a_duration_has_a_sensible_unit(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_one_is_singular() -> None:
    assert [counted(1, "retry", "retries"), counted(2, "retry", "retries"), counted(0, "step")] == [
        "1 retry",
        "2 retries",
        "0 steps",
    ]
