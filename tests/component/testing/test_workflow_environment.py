"""What an author of workflows writes, over the real process of a workflow environment."""

from pathlib import Path
from typing import Any

import pytest

from forgemesh.client.workflow import Workflow
from forgemesh.faults import Code
from forgemesh.testing import Call, WorkflowEnvironment, fails
from tests.component.testing.sources import APPROVAL, CALL, ONE, SAGA, retried


def operations(calls: tuple[Call, ...]) -> list[str]:
    return [call.operation for call in calls]


def test_a_call_returns_what_the_script_says_and_sees_its_input() -> None:
    with WorkflowEnvironment(ONE) as play:
        play.on("p", "o").returns({"n": 2**70, "text": "ä\n"})
        outcome = play.run({"sku": "x"})

    assert outcome.status == "SUCCEEDED"
    assert outcome.output == {"n": 2**70, "text": "ä\n"}
    assert outcome.failure is None
    (call,) = outcome.calls
    assert (call.plugin, call.operation, call.step_path, call.attempt) == ("p", "o", "x", 1)
    assert call.input == {"sku": "x"}
    assert outcome.steps["x"].status == "SUCCEEDED"
    assert [event.kind for event in outcome.events] == [
        "execution_started",
        "attempt_started",
        "attempt_succeeded",
        "execution_succeeded",
    ]


def test_a_declined_card_undoes_what_was_done_in_reverse_order() -> None:
    with WorkflowEnvironment(SAGA) as play:
        play.on("shop.stock", "reserve").returns({"id": 7})
        play.on("shop.stock", "pack").returns()
        play.on("shop.stock", "unpack").returns()
        play.on("shop.stock", "release").returns()
        play.on("shop.payment", "charge").fails("CARD_DECLINED", retryable=False)
        outcome = play.run({"sku": "x"})

    assert outcome.status == "COMPENSATED"
    assert operations(outcome.calls) == ["reserve", "pack", "charge", "unpack", "release"]
    assert outcome.calls[-1].input == {"id": 7}
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.step_path) == ("CARD_DECLINED", "pay")


def test_three_days_pass_for_the_execution_alone() -> None:
    with WorkflowEnvironment("name: nap\nsteps: [{id: nap, wait: {for: 3d}}]\n") as play:
        outcome = play.run()

    assert outcome.status == "SUCCEEDED"
    assert outcome.elapsed == 3 * 86_400


def test_years_pass_to_the_second() -> None:
    naps = "".join(f"  - {{id: n{number}, wait: {{for: 365d}}}}\n" for number in range(9))
    with WorkflowEnvironment(f"name: naps\nsteps:\n{naps}") as play:
        outcome = play.run()

    assert outcome.elapsed == pytest.approx(9 * 365 * 86_400, abs=0.001)


def test_a_failure_that_may_be_retried_is_retried_after_its_pause() -> None:
    with WorkflowEnvironment(retried()) as play:
        play.on("p", "o").fails("BUSY", code=Code.UNAVAILABLE, retryable=True, times=2).then.returns("done")
        outcome = play.run()

    assert outcome.output == "done"
    assert [call.attempt for call in outcome.calls] == [1, 2, 3]
    assert 0 <= outcome.calls[1].at <= 600
    assert 0 <= outcome.calls[2].at - outcome.calls[1].at <= 1200


def test_every_run_of_a_script_goes_the_same_way() -> None:
    def played() -> list[float]:
        with WorkflowEnvironment(retried(), seed=7) as play:
            play.on("p", "o").fails("BUSY", retryable=True)
            return [call.at for call in (*play.run().calls, *play.run().calls)]

    first = played()

    assert first[1] > 0
    assert first[:3] == pytest.approx(first[3:])
    assert played() == first


def test_a_plugin_that_hangs_runs_into_the_timeout() -> None:
    with WorkflowEnvironment(retried(start_to_close="30s")) as play:
        play.on("p", "o").never_answers()
        outcome = play.run()

    assert outcome.status == "FAILED"
    assert outcome.failure is not None
    assert outcome.failure.reason == "START_TO_CLOSE_TIMEOUT"
    assert len(outcome.calls) == 3
    assert outcome.elapsed >= 90


def test_the_time_of_all_attempts_ends_even_while_a_call_takes_its_time() -> None:
    with WorkflowEnvironment(retried(schedule_to_close="1h", start_to_close="1d")) as play:
        play.on("p", "o").returns("late", takes="2h")
        outcome = play.run()

    assert outcome.failure is not None
    assert outcome.failure.reason == "SCHEDULE_TO_CLOSE_TIMEOUT"
    assert outcome.elapsed == pytest.approx(3600, abs=10)


def test_a_call_that_takes_its_time_shows_that_it_lives() -> None:
    with WorkflowEnvironment(retried(heartbeat="5s")) as play:
        play.on("p", "o").returns("done", takes="50s")
        outcome = play.run()

    assert (outcome.output, outcome.elapsed) == ("done", 50)


def test_a_plugin_that_dies_is_called_again_without_a_new_pause() -> None:
    with WorkflowEnvironment(ONE) as play:
        play.on("p", "o").dies().then.returns("done")
        outcome = play.run()

    assert outcome.output == "done"
    lost = next(event for event in outcome.events if event.kind == "attempt_failed")
    assert lost.what.startswith("attempt 1 failed: HOST_LOST")
    assert len(outcome.calls) == 2


def test_a_signal_arrives_at_its_moment() -> None:
    with WorkflowEnvironment(APPROVAL) as play:
        play.signal("approve", {"by": "ada"}, after="2h")
        outcome = play.run()

    assert outcome.elapsed == 7200
    assert outcome.output == {"by": "ada"}


def test_a_signal_without_a_moment_arrives_once_a_step_waits_for_it() -> None:
    twice = APPROVAL.replace("output:", "  - {id: sign, wait: {signal: approve, timeout: 2d}}\noutput:")
    with WorkflowEnvironment(twice) as play:
        play.signal("approve", 1)
        play.signal("approve", 2)
        outcome = play.run()

    assert outcome.elapsed < 1
    assert [outcome.steps[step].output for step in ("decide", "sign")] == [1, 2]


def test_a_signal_that_does_not_come_runs_into_the_timeout() -> None:
    with WorkflowEnvironment(APPROVAL) as play:
        outcome = play.run()

    assert outcome.status == "FAILED"
    assert outcome.elapsed == 2 * 86_400


def test_an_execution_is_cancelled_at_its_moment() -> None:
    with WorkflowEnvironment(APPROVAL) as play:
        play.cancel(after="1h")
        outcome = play.run()

    assert (outcome.status, outcome.elapsed) == ("CANCELLED", 3600)


def test_a_map_of_a_hundred_is_answered_item_by_item() -> None:
    source = f"""
name: many
steps:
  - id: each
    map: {{over: "${{input.items}}", max_concurrency: 8, steps: [{{id: x, {CALL}, input: "${{item}}"}}]}}
output: "${{steps.each.output}}"
"""

    def doubled(given: int, call: Call) -> int:
        return given * 2

    with WorkflowEnvironment(source) as play:
        play.on("p", "o").returns(doubled)
        play.at("each/17/x").returns("odd one")
        outcome = play.run({"items": list(range(100))})

    expected: list[object] = [number * 2 for number in range(100)]
    expected[17] = "odd one"
    assert outcome.output == expected
    assert len(outcome.calls) == 100
    assert outcome.steps["each/99/x"].output == 198


def test_a_pattern_scripts_a_step_in_all_iterations() -> None:
    source = f'name: m\nsteps: [{{id: each, map: {{over: "${{input}}", steps: [{{id: x, {CALL}}}]}}}}]\n'
    with WorkflowEnvironment(source) as play:
        play.at("each/*/x").returns()

        assert play.run([1, 2, 3]).status == "SUCCEEDED"


def test_a_child_workflow_is_played_with_its_parent(tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text(ONE, encoding="utf-8")
    parent = 'name: parent\nsteps:\n  - {id: c, workflow: {name: one}, input: {n: 1}}\noutput: "${steps.c.output}"\n'
    with WorkflowEnvironment(parent, children=[child]) as play:
        play.on("p", "o").returns([7])
        outcome = play.run()

    assert outcome.output == [7]
    assert outcome.calls[0].execution_id != outcome.execution_id


def test_an_interface_is_scripted_by_its_name() -> None:
    source = """
name: resized
steps:
  - id: x
    call: {interface: image.resize@^2, operation: resize, select: {must: {gpu: "yes"}}}
  - id: y
    call: {interface: image.resize@^1.4, operation: crop}
"""
    with WorkflowEnvironment(source) as play:
        play.on("image.resize", "resize").returns()
        play.on("image.resize", "crop").returns()
        outcome = play.run()

    assert (outcome.status, outcome.elapsed) == ("SUCCEEDED", 0)


def test_a_workflow_written_in_python_is_played_as_it_is() -> None:
    flow = Workflow("written")
    flow.call("x", plugin="p", operation="o")
    with WorkflowEnvironment(flow) as play:
        play.on("p", "o").returns()

        assert play.run().status == "SUCCEEDED"


@pytest.mark.parametrize("raised", [True, False])
def test_a_function_in_a_script_may_fail_the_call(raised: bool) -> None:
    def choosy(given: Any, call: Call) -> object:
        if raised:
            raise fails("TOO_LARGE", f"not {given['n']}")
        return fails("TOO_LARGE", f"not {given['n']}")

    with WorkflowEnvironment(ONE) as play:
        play.on("p", "o").returns(choosy)
        outcome = play.run({"n": 5})

    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.message) == ("TOO_LARGE", "not 5")


def test_large_answers_and_inputs_pass_in_both_directions() -> None:
    large = "x" * 2_000_000
    source = f"""
name: large
steps:
  - id: both
    parallel:
      branches:
        a: [{{id: x, {CALL}, input: "${{input}}"}}]
        b: [{{id: x, {CALL}, input: "${{input}}"}}]
"""
    with WorkflowEnvironment(source) as play:
        play.on("p", "o").returns(lambda given, call: given)
        outcome = play.run({"text": large})

    assert outcome.steps["both/b/x"].output == {"text": large}
