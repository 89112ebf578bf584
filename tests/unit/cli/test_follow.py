from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.cli.follow import problem_of_failure
from forgemesh.client import ExecutionFailed, Status


def test_an_execution_that_was_not_undone_says_what_is_left_to_do() -> None:
    failure = Failure(code=9, reason="NO_STOCK", message="none is left", step_path="ship")
    failed = ExecutionFailed("x1", failure, Status.COMPENSATION_FAILED, ["charge", "reserve"])

    assert problem_of_failure(failed).as_text() == (
        "error: execution x1 failed and could not be undone at ship\n"
        "  NO_STOCK: none is left\n"
        "  not undone: charge, reserve\n"
        "  forgemesh trace show x1\n"
    )


def test_a_terminated_execution_has_not_failed() -> None:
    failure = Failure(code=1, reason="EXECUTION_TERMINATED", message="it was terminated by ana")

    assert (
        problem_of_failure(ExecutionFailed("x1", failure, Status.TERMINATED)).message == "execution x1 was terminated"
    )
