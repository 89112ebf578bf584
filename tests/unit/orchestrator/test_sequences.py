import pytest

from forgemesh.faults import Code
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.attempts import failed, succeeded
from forgemesh.orchestrator.execution.decide import decide, next_wake
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import MAX_INPUT, Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.unit.orchestrator.histories import (
    DISPATCH,
    START,
    History,
    broken,
    facts_of,
    host_lost,
    picture,
    unavailable,
)
from tests.unit.orchestrator.workflows import CALL, call, case, of_steps, otherwise, switch


def test_steps_run_in_order_and_each_begins_in_the_commit_that_ends_the_one_before() -> None:
    history = History(of_steps(call("a"), call("b", input="${steps.a.output}"), output="${steps.b.output}"))

    assert history.open == ["a"]
    events = history.succeed("a", {"n": 1})

    assert [type(event.fact) for event in events] == [e.AttemptSucceeded, e.AttemptStarted]
    assert history.step("b").input == Payload(b'{"n": 1}')
    history.succeed("b", [2])
    assert history.output == [2]
    assert history.kinds() == [
        "ExecutionStarted",
        "AttemptStarted",
        "AttemptSucceeded",
        "AttemptStarted",
        "AttemptSucceeded",
        "ExecutionSucceeded",
    ]
    assert [event.sequence for event in history.events] == [1, 2, 3, 4, 5, 6]


def test_without_an_output_an_execution_returns_null() -> None:
    history = History(of_steps(call("a")))

    history.succeed("a", 1)

    assert history.output is None


def test_an_execution_knows_its_own_name() -> None:
    history = History(of_steps(call("a", input="${execution}"), output="${execution.id} ${execution.workflow}"))

    assert history.step("a").input == Payload(b'{"id":"e-1","namespace":"default","workflow":"w","version":"1.0.0"}')
    history.succeed("a")
    assert history.output == "e-1 w"


def test_a_failure_that_is_not_to_be_tried_again_ends_the_execution() -> None:
    history = History(of_steps(call("a"), call("b")))

    history.fail("a", broken())

    assert history.statuses() == {"a": "FAILED", "b": "SKIPPED"}
    assert history.step("b").skipped == "UPSTREAM_FAILED"
    assert history.reason == "BROKEN"
    assert history.state.failure is not None
    assert history.state.failure.step_path == "a"
    assert history.open == []


def test_a_failed_try_waits_and_is_made_again_with_the_same_input() -> None:
    history = History(of_steps(call("a", input={"x": "${input}"})), 5)

    history.fail("a", unavailable(), draw=0.5)

    assert history.step("a").status is StepStatus.WAITING
    assert next_wake(history.state) == START + SECOND // 10
    assert history.wait(0.0999) == []
    (again,) = facts_of(history.wait(0.0001), e.AttemptStarted)
    assert again == e.AttemptStarted("a", 2, None)
    assert history.step("a").input == Payload(b'{"x":5}')
    history.succeed("a")
    assert history.state.status is Status.SUCCEEDED


def test_tries_end_after_as_many_as_were_asked_for() -> None:
    history = History(of_steps(call("a", retry={"max_attempts": 3})))

    for _ in range(2):
        history.fail("a", unavailable())
        history.wait(10)
    history.fail("a", unavailable(message="still away"))

    assert history.reason == "AWAY"
    assert history.step("a").attempts == 3
    assert [fact.next_at > 0 for fact in history.facts(e.AttemptFailed)] == [True, True, False]


def test_a_lost_host_costs_no_try() -> None:
    history = History(of_steps(call("a", retry={"max_attempts": 1})))

    history.fail("a", host_lost())

    assert history.open == ["a"]
    assert history.step("a").attempts == 2
    history.fail("a", unavailable())
    assert history.reason == "AWAY"


def test_a_try_that_would_come_after_the_timeout_is_not_waited_for() -> None:
    history = History(of_steps(call("a"), timeout="5s"))

    history.fail("a", unavailable(retry_after=6.0))

    assert history.reason == "AWAY"
    assert history.state.failure is not None
    assert (
        history.state.failure.message == "away; no further attempt, since it would come after the execution's timeout"
    )


@pytest.mark.parametrize("attempt", [1, 3])
def test_answers_to_other_tries_than_the_open_one_change_nothing(attempt: int) -> None:
    history = History(of_steps(call("a")))
    history.fail("a", host_lost())
    before = picture(history.state)

    assert succeeded(history.state, "a", attempt, Payload(b"1"), DISPATCH) is None
    assert failed(history.state, "a", attempt, broken(), DISPATCH, history.now, 0.5) is None
    assert picture(history.state) == before


def test_a_late_answer_to_an_ended_execution_changes_nothing() -> None:
    history = History(of_steps(call("a")))
    history.succeed("a")

    assert succeeded(history.state, "a", 1, Payload(b"1"), DISPATCH) is None
    assert failed(history.state, "a", 1, broken(), DISPATCH, history.now, 0.5) is None
    assert list(decide(history.state, history.now + 10**18)) == []
    assert next_wake(history.state) is None


def test_a_blocked_try_stays_open_and_tells_why() -> None:
    history = History(of_steps(call("a")))

    history.block("a", "CIRCUIT_OPEN")

    blocked = history.step("a").blocked
    assert blocked is not None
    assert blocked.reason == "CIRCUIT_OPEN"
    assert history.statuses() == {"a": "BLOCKED"}
    assert history.open == ["a"]
    history.unblock("a")
    assert history.statuses() == {"a": "RUNNING"}
    assert history.step("a").blocked is None
    assert history.step("a").attempts == 1


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_blocked_try_may_end_all_the_same(succeeds: bool) -> None:
    history = History(of_steps(call("a")))
    history.block("a")

    if succeeds:
        history.succeed("a")
    else:
        history.fail("a", broken())

    assert history.state.status is not Status.RUNNING
    assert history.step("a").blocked is None


def test_a_plugin_that_says_cancelled_by_itself_has_failed() -> None:
    history = History(of_steps(call("a")))

    history.fail("a", Failure(Code.CANCELLED, "CANCELLED", "I gave up"))

    assert history.statuses() == {"a": "FAILED"}


def test_an_output_larger_than_a_message_fails_the_step() -> None:
    history = History(of_steps(call("a")))

    history.succeed("a", Payload(b"x", "image/png", {"k": "v" * MAX_INPUT}))

    assert history.reason == "PAYLOAD_TOO_LARGE"


def test_an_input_larger_than_a_message_fails_the_step_before_it_is_sent() -> None:
    history = History(of_steps(call("a"), call("b", input=["${steps.a.output}", "${steps.a.output}"])))

    history.succeed("a", "x" * (MAX_INPUT // 2))

    assert history.reason == "PAYLOAD_TOO_LARGE"
    assert history.statuses() == {"a": "SUCCEEDED", "b": "FAILED"}


def test_an_expression_that_fails_fails_its_step_and_is_never_false() -> None:
    history = History(of_steps(switch("s", case("input.absent > 1", call("a")), otherwise(call("b")))))

    assert history.reason == "EXPRESSION_ERROR"
    assert history.statuses() == {"s": "FAILED"}
    assert history.state.failure is not None
    assert history.state.failure.step_path == "s"


def test_an_output_that_cannot_be_worked_out_fails_the_execution() -> None:
    history = History(of_steps(call("a"), output="${steps.a.output.absent}"))

    history.succeed("a", {})

    assert history.reason == "EXPRESSION_ERROR"


UNDO = {"plugin": "p", "operation": "undo"}
OUTPUT_OF_A = "${steps.a.output}"


@pytest.mark.parametrize("reason", ["OUTPUT_INVALID", "PAYLOAD_TOO_LARGE"])
def test_work_whose_output_is_of_no_use_is_a_failure_whose_effect_is_undone(reason: str) -> None:
    history = History(of_steps(call("a", compensate=UNDO)))

    history.fail("a", broken(reason))

    assert history.statuses()["a"] == "FAILED"
    history.succeed("a:compensate")
    assert history.state.status is Status.COMPENSATED
    assert history.reason == reason


def test_an_output_that_is_too_large_is_undone_with_the_rest() -> None:
    history = History(of_steps(call("a", compensate=UNDO), call("b", compensate=UNDO)))
    history.succeed("a")

    history.succeed("b", Payload(b'"' + b"x" * MAX_INPUT + b'"'))
    history.succeed("b:compensate")
    history.succeed("a:compensate")

    assert history.state.status is Status.COMPENSATED


@pytest.mark.parametrize("step", [{"wait": {"until": OUTPUT_OF_A}}, {"call": CALL, "affinity": OUTPUT_OF_A}])
def test_an_output_that_is_no_json_is_an_expression_error_where_it_is_looked_into(step: dict[str, object]) -> None:
    history = History(of_steps(call("a"), {"id": "b", **step}))

    history.succeed("a", Payload(b"tomorrow", "text/plain"))

    assert history.reason == "EXPRESSION_ERROR"
