"""Loops: the same steps, round after round, until a condition is true."""

from __future__ import annotations

import pytest

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.decide import next_wake
from forgemesh.orchestrator.execution.explain import explain
from forgemesh.orchestrator.execution.progress import progress
from forgemesh.orchestrator.values.retry import SECOND
from tests.unit.orchestrator.forks import UNDO, forked, results, taken, terminated, undone_by
from tests.unit.orchestrator.histories import START, History, broken, picture, unavailable
from tests.unit.orchestrator.workflows import call, loop, map_, of_steps, parallel

READY = "steps.ask.output.ready"


def polling(*after: dict[str, object], delay: str = "", limit: int = 10, **more: object) -> History:
    """A loop that asks until the answer says that it is ready."""
    ask = call("ask", input={"round": "${index}"})
    pause = {"delay": delay} if delay else {}
    step = loop("poll", READY, ask, limit=limit, **pause, **more)
    return History(of_steps(step, *after, output="${steps.poll.output}"))


def answered(history: History, *answers: bool) -> History:
    """Rounds are answered one after the other, by the loop's only call."""
    for ready in answers:
        (path,) = history.open
        history.succeed(path, {"ready": ready, "by": path})
    return history


def verdicts(history: History) -> list[tuple[int, bool]]:
    return [(fact.index, fact.done) for fact in history.facts(e.RoundJudged)]


def test_the_steps_run_again_until_the_condition_is_true_and_the_last_round_gives_the_output() -> None:
    history = answered(polling(), False, False, True)

    assert history.output == {"ready": True, "by": "poll/2/ask"}
    assert verdicts(history) == [(0, False), (1, False), (2, True)]
    assert [started.input.value()["round"] for started in history.facts(e.AttemptStarted) if started.input] == [0, 1, 2]  # type: ignore[index]


def test_a_round_is_judged_by_what_its_own_steps_came_to() -> None:
    inner = [call("ask"), call("weigh", input="${steps.ask.output}")]
    history = History(of_steps(loop("poll", "steps.weigh.output > index", *inner), output="${steps.poll.output}"))
    for path, output in (("poll/0/ask", 9), ("poll/0/weigh", 0), ("poll/1/ask", 9), ("poll/1/weigh", 2)):
        history.succeed(path, output)

    assert history.output == 2


def test_after_its_last_round_the_loop_fails_and_says_why() -> None:
    history = answered(polling(limit=2), False, False)

    assert history.reason == "LOOP_LIMIT_REACHED"
    assert history.state.failure is not None
    assert history.state.failure.metadata == {"step_path": "poll", "rounds": "2", "until": READY}
    assert "max_iterations" in history.state.failure.message
    assert history.state.failure.step_path == "poll"


def test_a_loop_may_succeed_although_its_condition_never_was_true() -> None:
    assert answered(polling(limit=2, on_limit="succeed"), False, False).output == {"ready": False, "by": "poll/1/ask"}


def test_a_loop_of_one_round_runs_its_steps_once() -> None:
    assert verdicts(answered(polling(limit=1), True)) == [(0, True)]


def test_a_failure_in_a_round_that_nobody_takes_up_fails_the_loop_at_once() -> None:
    history = answered(polling(), False)
    history.fail("poll/1/ask", broken())

    assert history.reason == "BROKEN"
    assert verdicts(history) == [(0, False)]


def test_a_failure_that_is_taken_up_in_its_round_is_judged_like_any_other_round() -> None:
    handler = call("handle", trigger="all_done", when="steps.ask.status == 'FAILED'")
    until = "steps.handle.status == 'SKIPPED'"
    history = History(of_steps(loop("poll", until, call("ask"), handler)))
    history.fail("poll/0/ask", broken())
    history.succeed("poll/0/handle")
    history.succeed("poll/1/ask")

    assert history.state.status.value == "SUCCEEDED"
    assert verdicts(history) == [(0, False), (1, True)]


def test_a_loop_that_fails_is_taken_up_by_what_comes_after_it() -> None:
    history = answered(polling(call("rescue", trigger="all_done"), limit=1), False)
    history.succeed("rescue")

    assert history.state.status.value == "SUCCEEDED"
    assert history.step("poll").status.value == "FAILED"


def test_a_condition_that_cannot_be_evaluated_fails_the_loop() -> None:
    history = polling()
    history.succeed("poll/0/ask", {"other": 1})

    assert history.reason == "EXPRESSION_ERROR"
    assert history.state.failure is not None
    assert history.state.failure.step_path == "poll"


def test_a_round_sees_the_variables_as_the_one_before_left_them_and_what_follows_sees_the_last() -> None:
    ask = call("ask", input="${vars.total}", set={"total": "${vars.total + steps.ask.output}"})
    history = History(of_steps(loop("sum", "vars.total >= 6", ask), vars={"total": 1}, output="${vars.total}"))
    for path in ("sum/0/ask", "sum/1/ask", "sum/2/ask"):
        history.succeed(path, 2)

    assert history.output == 7
    assert [fact.input.value() for fact in history.facts(e.AttemptStarted) if fact.input] == [1, 3, 5]


def test_variables_of_a_loop_that_failed_are_gone_with_it() -> None:
    ask = call("ask", set={"v": 7})
    rescue = call("rescue", trigger="all_done", input="${vars.v}")
    history = History(of_steps(loop("l", "false", ask, limit=1), rescue, vars={"v": 1}))
    history.succeed("l/0/ask")

    started = history.facts(e.AttemptStarted)[-1]
    assert started.input is not None
    assert (started.path, started.input.value()) == ("rescue", 1)


def test_a_loop_in_which_nothing_was_done_has_done_nothing() -> None:
    history = History(of_steps(loop("l", "index == 1", call("x", when="false")), output="${steps.l.output}"))

    assert history.output is None
    assert history.step("l").idle
    assert verdicts(history) == [(0, False), (1, True)]


# The pause between rounds


def test_a_round_waits_for_the_delay_after_the_end_of_the_one_before() -> None:
    history = polling(delay="5s")
    history.now = START + 3 * SECOND
    answered(history, False)

    assert history.open == []
    assert history.step("poll").status.value == "WAITING"
    assert next_wake(history.state) == START + 8 * SECOND
    history.wait(4.9)
    assert history.open == []
    history.wait(0.1)
    assert history.open == ["poll/1/ask"]
    assert history.step("poll").status.value == "RUNNING"


def test_the_delay_comes_neither_before_the_first_round_nor_after_the_last() -> None:
    assert answered(polling(delay="5s"), True).state.status.value == "SUCCEEDED"
    assert answered(polling(delay="5s", limit=1), False).reason == "LOOP_LIMIT_REACHED"


def test_a_restart_between_rounds_keeps_the_verdict_and_the_time() -> None:
    history = answered(polling(delay="5s"), False)
    before = picture(history.state)
    history.wait(2)
    history.crash()

    assert verdicts(history) == [(0, False)]
    assert picture(history.refolded())["steps"] == before["steps"]
    assert next_wake(history.state) == START + 5 * SECOND
    history.wait(3)
    assert history.open == ["poll/1/ask"]


def test_no_round_begins_during_a_pause() -> None:
    history = answered(polling(delay="5s"), False)
    history.turn(*control.pause(history.state, e.PauseRequested("somebody")))
    assert history.state.status.value == "PAUSED"
    history.wait(60)
    assert history.open == []
    history.turn(*control.resume(history.state, "somebody"))

    assert history.open == ["poll/1/ask"]


def test_a_round_that_ends_during_a_pause_is_judged_and_the_next_one_waits_for_the_end_of_it() -> None:
    history = polling()
    history.turn(*control.pause(history.state, e.PauseRequested("somebody")))
    answered(history, False)
    assert verdicts(history) == [(0, False)]
    assert history.state.status.value == "PAUSED"
    assert history.open == []
    history.turn(*control.resume(history.state, "somebody"))

    assert history.open == ["poll/1/ask"]


@pytest.mark.parametrize("between_rounds", [True, False])
def test_a_cancelled_execution_begins_no_further_round(between_rounds: bool) -> None:
    history = polling(delay="5s" if between_rounds else "")
    if between_rounds:
        answered(history, False)
    history.take_back(history.turn(*control.cancel(history.state, "somebody", "")))
    history.wait(60)

    assert history.state.status.value == "CANCELLED"
    assert history.step("poll").status.value == "CANCELLED"
    assert verdicts(history) == ([(0, False)] if between_rounds else [])


def test_a_round_that_ends_well_while_its_execution_stops_is_not_judged() -> None:
    history = polling()
    history.turn(*control.cancel(history.state, "somebody", ""))
    history.succeed("poll/0/ask", {"ready": True})

    assert verdicts(history) == []
    assert history.state.status.value == "CANCELLED"


def test_the_timeout_of_the_execution_ends_a_loop_between_its_rounds() -> None:
    step = loop("poll", "false", call("ask"), delay="1h")
    history = History(of_steps(step, timeout="10s"))
    history.succeed("poll/0/ask")
    history.wait(10)

    assert history.state.status.value == "TIMED_OUT"


def test_a_loop_between_rounds_takes_none_of_the_places_of_its_execution() -> None:
    steps = [loop("poll", "false", call("ask"), delay="5s"), call("one", after=[]), call("two")]
    history = History(of_steps(*steps, max_concurrency=1))
    history.succeed("one")
    assert history.open == ["poll/0/ask"]
    history.succeed("poll/0/ask")
    assert history.open == ["two"]
    history.wait(5)
    assert history.open == ["two"]
    history.succeed("two")

    assert history.open == ["poll/1/ask"]


def test_it_is_told_what_a_loop_between_rounds_waits_for() -> None:
    history = answered(polling(delay="5s"), False)

    found = explain(history.state, history.now, {}, "", 0)

    assert "Step 'poll' waits for its time (for 5 s more at most)" in found.summary
    assert [(one.reason, one.until) for one in found.blockers] == [("TIMER", START + 5 * SECOND)]


# Groups inside one another


def test_loops_inside_one_another_have_indexes_of_their_own() -> None:
    inner = loop("inner", "index == 1", call("x", input="${index}"))
    history = History(of_steps(loop("outer", "index == 1", inner, call("y", input="${index}"))))
    while history.open:
        history.succeed(history.open[0])

    given = [(fact.path, fact.input.value()) for fact in history.facts(e.AttemptStarted) if fact.input]
    assert given == [
        ("outer/0/inner/0/x", 0),
        ("outer/0/inner/1/x", 1),
        ("outer/0/y", 0),
        ("outer/1/inner/0/x", 0),
        ("outer/1/inner/1/x", 1),
        ("outer/1/y", 1),
    ]
    assert history.state.status.value == "SUCCEEDED"


def test_each_iteration_of_a_map_has_a_loop_of_its_own_that_sees_the_item() -> None:
    inner = loop("l", "steps.x.output", call("x", input={"item": "${item}", "round": "${index}"}))
    history = History(of_steps(map_("m", ["a", "b"], inner), output="${steps.m.output}"))
    history.succeed("m/0/l/0/x", False)
    history.succeed("m/1/l/0/x", True)
    history.succeed("m/0/l/1/x", True)

    given = {fact.path: fact.input.value() for fact in history.facts(e.AttemptStarted) if fact.input}
    assert given["m/0/l/1/x"] == {"item": "a", "round": 1}
    assert history.output == [True, True]


def test_a_map_inside_a_loop_runs_over_what_the_round_says() -> None:
    inner = map_("m", "${vars.left}", call("x", input=["${item}", "${index}"]))
    shrink = call("next", set={"left": "${steps.next.output}"})
    definition = of_steps(loop("l", "size(vars.left) == 0", inner, shrink), vars={"left": ["a", "b"]})
    history = History(definition)
    for path, output in (("l/0/m/0/x", 1), ("l/0/m/1/x", 1), ("l/0/next", ["c"]), ("l/1/m/0/x", 1), ("l/1/next", [])):
        history.succeed(path, output)

    assert history.state.status.value == "SUCCEEDED"


def test_a_loop_in_a_branch_ends_with_its_group() -> None:
    group = parallel("g", a=[loop("l", "false", call("x"), delay="1h")], b=[call("y")])
    history = History(of_steps(group))
    history.succeed("g/a/l/0/x")
    history.fail("g/b/y", broken())

    assert history.reason == "BROKEN"
    assert history.step("g/a/l").status.value == "CANCELLED"


def test_steps_of_a_round_are_tried_again_as_everywhere() -> None:
    step = loop("poll", READY, call("ask", retry={"max_attempts": 2, "initial": "1s"}))
    history = History(of_steps(step))
    history.fail("poll/0/ask", unavailable())
    history.wait(1)
    history.succeed("poll/0/ask", {"ready": True})

    assert history.state.status.value == "SUCCEEDED"


# What is remembered


@pytest.mark.parametrize("rounds", [2, 50])
def test_ended_rounds_are_forgotten(rounds: int) -> None:
    inner = loop("n", "index == 1", call("x"))
    branches = parallel("g", a=[inner], b=[map_("m", [1, 2], call("x"))])
    history = History(of_steps(loop("l", "false", call("ask", set={"v": 1}), branches, limit=100), vars={"v": 0}))
    started = 0
    while started < rounds:
        started += history.open[0].startswith(f"l/{started}/")
        while history.open and history.open[0].startswith(f"l/{started - 1}/"):
            history.succeed(history.open[0])

    assert list(history.state.steps) == ["l", f"l/{rounds}/ask"]
    assert list(history.state.scopes) == ["", f"l/{rounds}"]
    assert len(history.state.wakes) <= 1


def test_an_ended_loop_leaves_nothing_but_itself() -> None:
    history = answered(polling(call("after")), False, True)

    assert list(history.state.steps) == ["poll", "after"]


def test_effects_of_all_rounds_are_undone_the_last_first() -> None:
    undo = {"plugin": "p", "operation": "undo", "input": {"round": "${index}", "of": "${steps.ask.output}"}}
    history = History(of_steps(loop("l", "index == 2", call("ask", compensate=undo)), call("after")))
    for number in range(3):
        history.succeed(f"l/{number}/ask", f"of {number}")
    order = undone_by(history)

    assert order == ["l/2/ask", "l/1/ask", "l/0/ask"]
    given = {fact.path: fact.input.value() for fact in history.facts(e.AttemptStarted) if fact.input}
    assert given["l/1/ask:compensate"] == {"round": 1, "of": "of 1"}


def test_progress_grows_from_round_to_round() -> None:
    history = polling(limit=4)
    seen = [progress(history.state, {})]
    for _ in range(3):
        answered(history, False)
        seen.append(progress(history.state, {}))

    assert seen == [0, 0.25, 0.5, 0.75]


# Forks


def test_a_fork_goes_on_with_the_round_that_the_origin_was_in_and_waits_for_none_of_the_delays_again() -> None:
    origin = terminated(answered_with_delays(2))

    fork = forked(origin)

    assert fork.open == ["poll/2/ask"]
    assert verdicts(fork) == [(0, False), (1, False)]
    answered(fork, True)
    assert fork.output == {"ready": True, "by": "poll/2/ask"}


def answered_with_delays(rounds: int) -> History:
    history = polling(delay="5s")
    for _ in range(rounds):
        answered(history, False)
        history.wait(5)
    return history


def test_what_comes_after_a_step_that_runs_again_runs_again_also_in_later_rounds() -> None:
    origin = terminated(answered(polling(), False, False, False))

    assert results(taken(origin, rerun=["poll/1/ask"])) == ["poll/0/ask"]


def test_a_loop_that_has_ended_well_is_taken_as_a_whole_with_its_variables() -> None:
    ask = call("ask", set={"v": "${index}"})
    origin = History(of_steps(loop("l", "index == 1", ask), call("after"), vars={"v": 9}, output="${vars.v}"))
    origin.succeed("l/0/ask")
    origin.succeed("l/1/ask")
    fork = forked(terminated(origin))
    fork.succeed("after")

    assert fork.output == 1
    assert [step.path for step in fork.state.steps.values() if step.taken] == ["l"]


def test_a_fork_with_another_condition_judges_the_rounds_that_it_took_by_that() -> None:
    origin = terminated(answered(polling(), False, False))
    other = of_steps(loop("poll", "index == 1", call("ask", input={"round": "${index}"})))

    fork = forked(origin, other)

    assert verdicts(fork) == [(0, False), (1, True)]
    assert fork.state.status.value == "SUCCEEDED"


def test_effects_of_rounds_go_with_the_results_to_the_fork() -> None:
    step = loop("l", "index == 2", call("x", compensate=UNDO))
    origin = History(of_steps(step), {"n": 1})
    origin.succeed("l/0/x", "of 0")
    fork = forked(terminated(origin))
    fork.succeed("l/1/x", "of 1")

    assert undone_by(fork) == ["l/1/x", "l/0~1/x"]


def test_a_step_in_a_map_in_a_round_is_found_by_its_item() -> None:
    inner = map_("m", "${input.items}", call("x", input="${item}"))
    origin = History(of_steps(loop("l", "false", inner, call("y"))), {"items": ["a", "b"]})
    origin.succeed("l/0/m/1/x", "of b")

    fork = forked(terminated(origin), given={"items": ["b", "c"]})

    assert fork.open == ["l/0/m/1/x"]
    fork.succeed("l/0/m/1/x", "of c")
    assert fork.state.output_of(fork.step("l/0/m")).value() == ["of b", "of c"]
