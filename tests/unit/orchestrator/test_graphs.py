"""Steps that wait for others than the one before them: triggers, conditions, failures that are taken up, waits."""

import json

import pytest

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.values.payload import Payload
from tests.unit.orchestrator.histories import History, broken, unavailable
from tests.unit.orchestrator.workflows import call, of_steps


def beside(*steps: dict[str, object], **more: object) -> History:
    return History(of_steps(*steps, **more))


def test_steps_that_wait_for_the_same_one_run_at_once() -> None:
    history = beside(call("a"), call("b", after=["a"]), call("c", after=["a"]), call("d", after=["b", "c"]))
    history.succeed("a")

    assert history.open == ["b", "c"]
    history.succeed("c")
    assert history.open == ["b"]
    history.succeed("b")
    assert history.open == ["d"]


@pytest.mark.parametrize(
    ("trigger", "a", "b", "runs"),
    [
        ("all_succeeded", "ok", "ok", True),
        ("all_succeeded", "ok", "skip", True),
        ("all_succeeded", "ok", "fail", False),
        ("none_failed", "skip", "skip", True),
        ("none_failed", "ok", "fail", False),
        ("any_succeeded", "ok", "fail", True),
        ("any_succeeded", "fail", "fail", False),
        ("all_done", "fail", "fail", True),
        ("all_done", "skip", "fail", True),
    ],
)
def test_a_trigger_decides_by_how_the_steps_before_it_ended(trigger: str, a: str, b: str, runs: bool) -> None:
    skipped = {"when": "input.n > 9"}
    history = History(
        of_steps(
            call("a", **(skipped if a == "skip" else {})),
            call("b", after=[], **(skipped if b == "skip" else {})),
            call("c", after=["a", "b"], trigger=trigger),
        ),
        {"n": 0},
    )
    for step, fate in (("a", a), ("b", b)):
        if fate == "ok":
            history.succeed(step)
        elif fate == "fail":
            history.fail(step, broken())

    assert (history.statuses()["c"] == "RUNNING") is runs
    if not runs:
        assert history.step("c").skipped == "UPSTREAM_FAILED"


def test_any_succeeded_does_not_wait_for_the_others() -> None:
    history = beside(call("a"), call("b", after=[]), call("c", after=["a", "b"], trigger="any_succeeded"))
    history.succeed("b")

    assert set(history.open) == {"a", "c"}
    history.succeed("c")
    history.fail("a", broken())
    assert history.state.status.value == "SUCCEEDED"


def test_a_failure_that_a_later_step_takes_up_does_not_fail_the_sequence() -> None:
    rescue = call("c", trigger="all_done", input="${steps.b.error}", after=["a", "b"])
    history = beside(call("a"), call("b"), rescue, output="${steps.c.output}")
    history.succeed("a")
    history.fail("b", broken("NO_STOCK"))
    given = history.step("c").input
    history.succeed("c", "handled")

    assert given is not None
    assert json.loads(given.data)["reason"] == "NO_STOCK"
    assert history.output == "handled"


def test_independent_steps_run_to_their_end_when_one_fails() -> None:
    history = beside(call("a"), call("b"), call("x", after=[]), call("y", after=["x"]))
    history.fail("a", broken())
    assert history.open == ["x"]
    history.succeed("x")
    history.succeed("y")

    assert history.statuses() == {"a": "FAILED", "x": "SUCCEEDED", "b": "SKIPPED", "y": "SUCCEEDED"}
    assert history.reason == "BROKEN"


def test_a_step_whose_condition_is_false_is_skipped_with_null_and_what_follows_runs() -> None:
    history = History(of_steps(call("a", when="input.n > 1"), call("b", input=["${steps.a.output}"])), {"n": 0})

    assert history.step("a").skipped == "CONDITION_FALSE"
    assert history.step("b").input == Payload(b"[null]")


def test_a_condition_that_cannot_be_evaluated_fails_its_step() -> None:
    assert History(of_steps(call("a", when="input.absent > 1"))).reason == "EXPRESSION_ERROR"


def test_a_wait_ends_at_its_time_and_not_before() -> None:
    history = beside({"id": "w", "wait": {"for": "5s"}}, call("a"))

    assert history.wait(4.9) == []
    history.wait(0.1)
    assert history.open == ["a"]


def test_a_wait_until_a_moment_that_has_passed_ends_at_once() -> None:
    history = History(
        of_steps({"id": "w", "wait": {"until": "${input.at}"}}, call("a")), {"at": "2020-01-01T00:00:00Z"}
    )
    history.wait(0)

    assert history.open == ["a"]


def test_a_moment_without_a_zone_is_refused() -> None:
    history = History(of_steps({"id": "w", "wait": {"until": "${input.at}"}}), {"at": "2020-01-01T00:00:00"})

    assert history.reason == "EXPRESSION_ERROR"


def signal(history: History, name: str = "go", signal_id: str = "") -> None:
    history.turn(*control.signal(history.state, e.SignalReceived(name, Payload(b'"hello"'), signal_id)))


def test_signals_are_given_in_order_each_to_one_wait() -> None:
    steps: list[dict[str, object]] = [{"id": f"w{number}", "wait": {"signal": "go"}} for number in range(3)]
    history = beside(*steps)
    signal(history, signal_id="1")
    signal(history, signal_id="1")
    signal(history, signal_id="2")

    assert history.statuses() == {"w0": "SUCCEEDED", "w1": "SUCCEEDED", "w2": "WAITING"}


@pytest.mark.parametrize(("on_timeout", "status"), [("fail", "FAILED"), ("skip", "SKIPPED")])
def test_a_signal_that_does_not_come_in_time_fails_or_skips_its_wait(on_timeout: str, status: str) -> None:
    history = beside({"id": "w", "wait": {"signal": "go", "timeout": "1s", "on_timeout": on_timeout}})
    history.wait(1)

    assert history.statuses() == {"w": status}


def test_the_steps_own_limit_counts_attempts_and_pauses_together() -> None:
    limits = {"timeouts": {"schedule_to_close": "2s"}, "retry": {"initial": "3s", "max_interval": "3s"}}
    history = beside(call("a", **limits))

    history.fail("a", unavailable(), draw=0.99)

    failure = history.state.failure
    assert failure is not None
    assert "schedule_to_close" in failure.message


def test_an_open_attempt_ends_when_the_steps_own_limit_passes() -> None:
    history = beside(call("a", timeouts={"schedule_to_close": "2s"}))
    history.wait(2)

    assert history.reason == "SCHEDULE_TO_CLOSE_TIMEOUT"
    assert history.open == []


def test_timers_and_back_offs_that_passed_during_a_pause_fire_after_it() -> None:
    history = beside(
        {"id": "w", "wait": {"for": "1s"}},
        call("a", after=[], retry={"initial": "1s"}),
        call("b", after=["w"]),
    )
    history.fail("a", unavailable(), draw=0.9)
    history.turn(*control.pause(history.state, e.PauseRequested()))
    history.wait(5)
    assert history.open == []

    history.turn(*control.resume(history.state, "me"))

    assert set(history.open) == {"a", "b"}


def test_a_timeout_stands_still_during_a_pause_that_says_so() -> None:
    def status_after(hold: bool) -> str:
        history = History(of_steps({"id": "w", "wait": {"signal": "go"}}, timeout="2s"))
        history.turn(*control.pause(history.state, e.PauseRequested(hold_clock=hold)))
        history.wait(10)
        if history.state.pause is not None:
            history.turn(*control.resume(history.state, "me"))
            history.wait(1.9)
        return history.state.status.value

    assert (status_after(hold=True), status_after(hold=False)) == ("RUNNING", "TIMED_OUT")


def test_a_time_is_as_long_as_it_is_written() -> None:
    history = beside({"id": "w", "wait": {"for": "1.001s"}}, call("a"))
    history.now += 1_000_999_999
    assert history.turn() == []
    history.now += 1

    history.turn()

    assert history.open == ["a"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.000001ms", 1e-9), ("0.1s", 0.1), ("8784h", 31622400.0), ("0.7m", 42.0)]
)
def test_a_duration_is_exact(text: str, seconds: float) -> None:
    step = of_steps({"id": "w", "wait": {"for": text}}).steps[0]

    assert step.seconds == seconds  # type: ignore[union-attr]
