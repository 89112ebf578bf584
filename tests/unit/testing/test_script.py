from datetime import timedelta

import pytest

from forgemesh.faults import Code
from forgemesh.testing.outcome import Call
from forgemesh.testing.script import Script, fails
from forgemesh.testing.span import Span, seconds_of

CALL = Call(plugin="p", operation="o", step_path="x", attempt=1, input=3, at=0.0, execution_id="e")


def outputs(script: Script, calls: int) -> list[object]:
    answers = [script.answer(CALL) for _ in range(calls)]
    return [answer.get("output") if answer is not None else "over" for answer in answers]


def test_the_last_answer_answers_every_call_that_still_comes() -> None:
    script = Script("p o").returns(1).then.returns(2)

    assert outputs(script, 4) == [1, 2, 2, 2]


def test_an_answer_that_says_how_often_is_used_up() -> None:
    script = Script("p o").returns(1, times=2).then.returns(2, times=1)

    assert outputs(script, 4) == [1, 1, 2, "over"]


def test_a_script_without_answers_is_over() -> None:
    assert Script("p o").answer(CALL) is None


def test_an_answer_for_no_call_is_refused() -> None:
    with pytest.raises(ValueError, match="times=0 answers nothing"):
        Script("p o").returns(1, times=0)


def test_a_function_sees_the_input_and_the_call() -> None:
    script = Script("p o").returns(lambda given, call: [given, call.step_path])

    assert outputs(script, 1) == [[3, "x"]]


def test_a_failure_says_all_that_an_operation_can_say() -> None:
    answer = (
        Script("p o")
        .fails("BUSY", code=Code.UNAVAILABLE, retryable=True, retry_after="2m", metadata={"queue": "9"}, takes="1s")
        .answer(CALL)
    )

    assert answer == {
        "takes": 1.0,
        "failure": {
            "code": "UNAVAILABLE",
            "reason": "BUSY",
            "message": "the script says BUSY",
            "retryable": True,
            "retry_after": 120.0,
            "metadata": {"queue": "9"},
        },
    }


def test_a_failure_may_be_returned_by_a_function() -> None:
    answer = Script("p o").returns(lambda given, call: fails("NO", "no")).answer(CALL)

    assert answer is not None
    assert answer["failure"]["message"] == "no"


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("200ms", 0.2), ("5s", 5), ("2 m", 120), ("1.5h", 5400), ("3d", 259_200), (0, 0), (timedelta(hours=1), 3600)],
)
def test_a_length_of_time_is_written_as_in_definitions(span: Span, seconds: float) -> None:
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("span", ["3 days", "", "-1s", -1, float("inf"), float("nan")])
def test_what_is_no_length_of_time_is_refused(span: Span) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        seconds_of(span)
