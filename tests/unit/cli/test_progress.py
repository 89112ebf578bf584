import pytest

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import event_pb2 as pb
from forgemesh.cli.progress import Progress, counted, duration

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
