from dataclasses import replace

import pytest

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.attempts import terms_of
from forgemesh.orchestrator.execution.decide import advance, decide, next_wake
from forgemesh.orchestrator.execution.fold import apply, fold
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Published
from tests.unit.orchestrator.histories import (
    START,
    History,
    broken,
    facts_of,
    host_lost,
    unavailable,
)
from tests.unit.orchestrator.workflows import call, of_steps, parallel, wait

THREE = [parallel("g", a=[call("x")], b=[call("x")], c=[call("x")])]


def test_the_timeout_stops_what_runs_and_what_waits() -> None:
    history = History(of_steps(*THREE, timeout="60s"))
    history.fail("g/a/x", unavailable(retry_after=50.0))
    assert next_wake(history.state) == START + 50 * SECOND
    history.succeed("g/b/x")
    history.block("g/c/x")

    stopping = history.wait(60)

    assert [type(event.fact) for event in stopping][:2] == [e.StopRequested, e.StepCancelled]
    history.take_back(stopping)
    assert history.reason == "EXECUTION_TIMEOUT"
    assert history.statuses() == {"g": "CANCELLED", "g/a/x": "CANCELLED", "g/b/x": "SUCCEEDED", "g/c/x": "CANCELLED"}


def test_a_timeout_is_told_as_it_was_defined_though_the_start_took_a_moment_to_record() -> None:
    history = History(of_steps(call("a"), timeout="1s"))
    history.state.started_at += 52_000

    stopping = history.wait(1)

    assert isinstance(stopping[0].fact, e.StopRequested)
    assert stopping[0].fact.failure is not None
    assert stopping[0].fact.failure.message.endswith("its timeout of 1 s")


def test_the_timeout_does_not_fire_before_its_time_nor_twice() -> None:
    history = History(of_steps(call("a"), timeout="60s"))

    assert history.wait(59.999999) == []
    assert next_wake(history.state) == START + 60 * SECOND
    assert len(history.wait(0.000001)) == 1
    assert history.wait(1000) == []
    assert next_wake(history.state) is None


def test_the_timeout_is_the_cause_whatever_a_step_says_while_it_is_taken_back() -> None:
    history = History(of_steps(call("a"), timeout="60s"))
    history.wait(60)

    history.fail("a", broken())

    assert history.statuses() == {"a": "FAILED"}
    assert history.reason == "EXECUTION_TIMEOUT"


def test_a_step_that_ends_just_as_the_timeout_passes_leaves_nothing_open() -> None:
    history = History(of_steps(call("a"), call("b"), timeout="60s"))
    history.now += 61 * SECOND

    history.succeed("a")

    assert history.reason == "EXECUTION_TIMEOUT"
    assert history.statuses() == {"a": "SUCCEEDED", "b": "CANCELLED"}


def test_the_last_step_may_still_end_well_after_the_timeout_if_nobody_noticed() -> None:
    history = History(of_steps(call("a"), timeout="60s"))
    history.now += 61 * SECOND

    history.succeed("a")

    assert history.state.status is Status.SUCCEEDED


def test_time_never_runs_backwards_in_a_history() -> None:
    history = History(of_steps(call("a"), call("b")))
    history.now -= 3600 * SECOND

    history.succeed("a")
    history.succeed("b")

    assert {event.at for event in history.events} == {START}


def test_recovery_makes_lost_tries_again_and_nothing_else() -> None:
    history = History(of_steps(*THREE, output="${steps.g.output}"))
    history.succeed("g/a/x", 1)
    history.succeed("g/c/x", 3)

    events = history.crash()

    assert [type(event.fact) for event in events] == [e.ExecutionRecovered, e.AttemptFailed, e.AttemptStarted]
    (lost,) = facts_of(events, e.AttemptFailed)
    assert (lost.path, lost.attempt, lost.failure.reason, lost.dispatch) == ("g/b/x", 1, "ORCHESTRATOR_LOST", None)
    history.succeed("g/b/x", 2)
    assert history.output == {"a": 1, "b": 2, "c": 3}


def test_recovery_keeps_waiting_for_what_was_waited_for() -> None:
    history = History(of_steps(call("a"), timeout="60s"))
    history.fail("a", unavailable(retry_after=30.0))

    history.crash()

    assert history.step("a").status is StepStatus.WAITING
    assert next_wake(history.state) == START + 30 * SECOND


def test_recovery_of_what_stops_goes_on_stopping() -> None:
    history = History(of_steps(*THREE))
    history.fail("g/a/x", broken())

    history.crash()

    assert history.reason == "BROKEN"
    assert history.statuses() == {"g": "FAILED", "g/a/x": "FAILED", "g/b/x": "CANCELLED", "g/c/x": "CANCELLED"}


def test_recovery_after_the_timeout_ends_the_execution() -> None:
    history = History(of_steps(call("a"), timeout="60s"))
    history.now += 100 * SECOND

    history.crash()

    assert history.reason in ("EXECUTION_TIMEOUT", "ORCHESTRATOR_LOST")
    assert history.open == []


def test_an_orchestrator_that_keeps_dying_uses_up_the_tries_that_it_loses() -> None:
    history = History(of_steps(call("a", retry={"max_attempts": 2})))

    for _ in range(2):
        history.crash()
        history.wait(10)

    assert history.reason == "ORCHESTRATOR_LOST"
    assert history.step("a").attempts == 2


def test_an_event_that_is_not_the_next_one_is_refused() -> None:
    history = History(of_steps(call("a"), call("b")))
    history.succeed("a")

    with pytest.raises(ValueError, match="event 4 cannot follow 2"):
        fold("default", "e-1", history.definition, [*history.events[:2], *history.events[3:]])
    with pytest.raises(ValueError, match="event 2 cannot follow 2"):
        apply(fold("default", "e-1", history.definition, history.events[:2]), history.events[1])


def test_there_is_nothing_to_decide_twice() -> None:
    history = History(of_steps(*THREE))

    assert advance(history.state, history.now) == []
    assert list(decide(history.state, history.now)) == []


def test_a_moment_that_no_clock_of_ours_reaches_fails_its_step() -> None:
    history = History(of_steps(wait("w", until="${input.at}")), {"at": "9999-12-31T23:59:59Z"})

    assert history.reason == "EXPRESSION_ERROR"
    assert history.state.failure is not None
    assert "it gives '9999-12-31T23:59:59Z', not a moment before 2262" in history.state.failure.message


def test_a_step_whose_time_is_over_while_it_is_being_cancelled_does_not_wait_for_a_person() -> None:
    history = History(of_steps(call("a", idempotent=False, timeouts={"schedule_to_close": "2s"})))
    history.turn(*control.cancel(history.state, "somebody", ""))

    history.wait(2)

    assert history.statuses() == {"a": "FAILED"}
    assert history.state.status is Status.CANCELLED
    assert next_wake(history.state) is None


@pytest.mark.parametrize(("on_exhausted", "status"), [("incident", "INCIDENT"), ("fail", "FAILED")])
def test_a_step_whose_time_is_over_between_two_attempts_ends_as_it_says(on_exhausted: str, status: str) -> None:
    limits = {"timeouts": {"schedule_to_close": "5s"}, "retry": {"initial": "2s", "max_attempts": 9}}
    history = History(of_steps(call("a", on_exhausted=on_exhausted, **limits)))
    history.fail("a", unavailable(), draw=0.5)
    history.turn(*control.pause(history.state, e.PauseRequested()))

    history.wait(6)
    history.turn(*control.resume(history.state, "me"))

    assert history.statuses() == {"a": status}
    assert next_wake(history.state) is None
    if status == "INCIDENT":
        history.turn(*control.resolve(history.state, "a", "retry", None, "", ""))
        history.succeed("a", 7)
        assert history.state.status is Status.SUCCEEDED


def test_a_step_that_waits_for_a_person_wakes_nobody() -> None:
    history = History(of_steps(call("a", idempotent=False, timeouts={"schedule_to_close": "2s"})))

    history.fail("a", host_lost())

    assert history.statuses() == {"a": "IN_DOUBT"}
    assert next_wake(history.state) is None


def test_an_attempt_may_take_as_long_as_its_step_says_or_else_its_operation() -> None:
    steps = (call("own", timeouts={"start_to_close": "5s"}), call("published"), call("unsaid"))
    definition = of_steps(*[{**step, "after": []} for step in steps])
    said = {"own": Published(timeout=300.0), "published": Published(timeout=300.0), "unsaid": Published(True)}
    history = History(replace(definition, published=said))

    state = history.state

    assert {path: terms_of(state, step).timeouts.start_to_close for path, step in state.steps.items()} == {
        "own": 5.0,
        "published": 300.0,
        "unsaid": 60.0,
    }


def test_a_moment_is_one_of_the_wall_clock_and_a_while_is_not() -> None:
    history = History(of_steps(parallel("g", m=[wait("at", until="2100-01-01T00:00:00Z")], d=[wait("w", "60s")])))
    century = 100 * 365 * 24 * 3600 * SECOND
    moment = next(fact.until for fact in history.facts(e.WaitStarted) if fact.path == "g/m/at")

    assert next_wake(history.state) == START + 60 * SECOND
    assert next_wake(history.state, century) == moment - century
    assert [event.fact for event in advance(history.state, START, -century)] == []
    ended = advance(history.state, START, century)

    assert [event.fact.path for event in ended if isinstance(event.fact, e.WaitEnded)] == ["g/m/at"]
    assert next_wake(history.state, century) == START + 60 * SECOND


def test_a_wait_begun_after_the_clock_was_put_back_over_a_restart_lasts_as_long_as_it_says() -> None:
    history = History(of_steps(call("a"), wait("w", "10s")))
    history.now -= 3600 * SECOND

    history.succeed("a")

    assert history.events[-1].at == START
    assert next_wake(history.state) == history.now + 10 * SECOND
