"""What an author of workflows is told when a workflow environment cannot go on."""

from pathlib import Path

import pytest

from forgemesh.testing import Refused, Stuck, Unscripted, WorkflowEnvironment, WorkflowEnvironmentError
from tests.component.testing.sources import APPROVAL, CALL, ONE, SAGA, retried


def test_a_run_takes_no_more_time_than_it_may() -> None:
    nap = "name: nap\nsteps: [{id: nap, wait: {for: 3d}}]\n"
    with (
        WorkflowEnvironment(nap, limit="2d") as play,
        pytest.raises(Stuck, match=r"after the run's `limit`:\n  step 'nap': TIMER"),
    ):
        play.run()

    with pytest.raises(ValueError, match="for a hundred years"):
        WorkflowEnvironment(ONE, limit="36501d")


def test_an_execution_that_can_never_end_says_what_it_waits_for() -> None:
    with WorkflowEnvironment(APPROVAL.replace(", timeout: 2d", "")) as play:
        with pytest.raises(Stuck, match=r'step \'decide\': SIGNAL: add play\.signal\("approve", \.\.\.\)') as stuck:
            play.run()
        play.signal("approve")
        outcome = play.run()

    assert stuck.value.outcome.status == "RUNNING"
    assert outcome.status == "SUCCEEDED"


def test_a_step_that_waits_for_a_person_can_be_looked_at() -> None:
    source = ONE.replace(CALL, f"{CALL}, on_exhausted: incident")
    with WorkflowEnvironment(source) as play:
        play.on("p", "o").fails("BROKEN")
        with pytest.raises(Stuck, match="INCIDENT") as stuck:
            play.run()

    assert stuck.value.outcome.steps["x"].status == "INCIDENT"


def test_a_bug_in_a_script_is_the_tests_own_error() -> None:
    with WorkflowEnvironment(ONE) as play:
        play.on("p", "o").returns(lambda given, call: given["absent"])
        with pytest.raises(KeyError, match="absent"):
            play.run()
        play.on("p", "o").returns(1)

        assert play.run().output == 1


def test_a_call_that_nobody_scripted_says_what_to_add() -> None:
    with WorkflowEnvironment(SAGA) as play:
        play.on("shop.stock", "reserved").returns()
        with pytest.raises(Unscripted) as failed:
            play.run({"sku": "x"})

    said = str(failed.value)
    assert "step 'reserve' (attempt 1, 0 s after the start) called 'reserve' of 'shop.stock' with {'sku': 'x'}" in said
    assert 'add: play.on("shop.stock", "reserve").returns(...)' in said
    assert "scripted: shop.stock reserved" in said


def test_a_script_that_is_over_says_so() -> None:
    with WorkflowEnvironment(retried()) as play:
        play.on("p", "o").fails("BUSY", retryable=True, times=2)
        with pytest.raises(Unscripted, match="the script of p o is over"):
            play.run()


def test_an_answer_that_is_not_json_names_its_script() -> None:
    with WorkflowEnvironment(ONE) as play:
        play.on("p", "o").returns({1, 2})

        with pytest.raises(TypeError, match="the script of p o answers with what is not JSON"):
            play.run()


def test_a_definition_is_refused_with_every_mistake_and_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(
        "name: order\nsteps:\n  - id: a\n    call: {plugin: p}\n  - id: a\n    wait: {}\n", encoding="utf-8"
    )
    with WorkflowEnvironment(file) as play, pytest.raises(Refused) as refused:
        play.run()

    assert refused.value.reason == "DEFINITION_INVALID"
    assert str(file) in str(refused.value)
    assert any("line 4, column" in mistake for mistake in refused.value.mistakes)
    assert any("line 5, column" in mistake for mistake in refused.value.mistakes)


def test_an_input_that_the_definition_does_not_take_is_refused() -> None:
    with WorkflowEnvironment(f"name: typed\ninput: {{n: integer}}\nsteps: [{{id: x, {CALL}}}]\n") as play:
        with pytest.raises(Refused, match=r"the start of 'typed' is refused[^n]+input\.n: must be of type integer"):
            play.run({"n": "one"})
        play.on("p", "o").returns()

        assert play.run({"n": 1}).status == "SUCCEEDED"


def test_a_process_that_is_silent_for_too_long_is_stopped() -> None:
    with (
        WorkflowEnvironment(ONE, patience=0.01) as play,
        pytest.raises(WorkflowEnvironmentError, match=r"did nothing for 0\.01 s"),
    ):
        play.run()
