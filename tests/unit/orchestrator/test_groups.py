from itertools import permutations

import pytest

from forgemesh.faults import Code
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.decide import next_wake
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from tests.unit.orchestrator.histories import (
    History,
    broken,
    facts_of,
    host_lost,
    unavailable,
)
from tests.unit.orchestrator.workflows import call, case, map_, of_steps, otherwise, parallel, switch

THREE = [parallel("g", a=[call("x")], b=[call("x")], c=[call("x")])]


@pytest.mark.parametrize(("n", "branch"), [(15, "case_1"), (7, "case_2"), (2, "otherwise")])
def test_the_first_true_case_is_the_only_one_that_runs(n: int, branch: str) -> None:
    steps = switch("s", case("input.n > 10", call("x")), case("input.n > 5", call("x")), otherwise(call("x")))
    history = History(of_steps(steps, output="${steps.s.output}"), {"n": n})

    assert history.open == [f"s/{branch}/x"]
    history.succeed(f"s/{branch}/x", branch)
    assert history.output == branch
    assert history.facts(e.GroupStarted) == [e.GroupStarted("s", (branch,))]


def test_later_cases_are_not_even_looked_at() -> None:
    steps = switch("s", case("true", call("x")), case("input.absent", call("y")))

    assert History(of_steps(steps)).open == ["s/case_1/x"]


def test_conditions_of_one_switch_see_one_snapshot_whatever_its_branch_returns() -> None:
    history = History(
        of_steps(
            call("a"),
            switch("s", case("steps.a.output.n > 10", call("shrink")), case("steps.a.output.n <= 10", call("direct"))),
        )
    )
    history.succeed("a", {"n": 11})

    history.succeed("s/case_1/shrink", {"n": 3})

    assert history.state.status is Status.SUCCEEDED
    assert "s/case_2/direct" not in history.state.steps


def test_no_case_matched_fails_by_default() -> None:
    history = History(of_steps(switch("s", case("false", call("x")))))

    assert history.reason == "NO_CASE_MATCHED"


def test_no_case_matched_may_be_skipped_and_what_follows_sees_null() -> None:
    skipped = switch("s", case("false", call("x")), no_match="skip")
    history = History(of_steps(skipped, call("a", input=["${steps.s.output}", "${steps.s.status}"])))

    assert history.statuses() == {"s": "SKIPPED", "a": "RUNNING"}
    assert history.step("a").input == Payload(b'[null,"SKIPPED"]')
    assert history.facts(e.StepSkipped) == [e.StepSkipped("s", "NO_CASE_MATCHED")]


def test_the_output_of_a_switch_is_that_of_its_last_step() -> None:
    history = History(
        of_steps(switch("s", case("true", call("x"), call("y", input="${steps.x.output}"))), output="${steps.s.output}")
    )

    history.succeed("s/case_1/x", 1)
    history.succeed("s/case_1/y", Payload(b"\x00", "image/png"))

    assert history.state.output == Payload(b"\x00", "image/png")


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_the_output_of_a_group_is_in_the_order_of_declaration(order: tuple[str, ...]) -> None:
    history = History(of_steps(*THREE, output="${steps.g.output}"))

    for branch in order:
        history.succeed(f"g/{branch}/x", branch.upper())

    assert history.state.output == Payload(b'{"a":"A","b":"B","c":"C"}')


def test_all_branches_begin_in_one_commit() -> None:
    history = History(of_steps(*THREE))

    assert history.open == ["g/a/x", "g/b/x", "g/c/x"]
    assert history.kinds() == ["ExecutionStarted", "GroupStarted", *["AttemptStarted"] * 3]


def test_a_branch_that_ends_with_a_skipped_switch_gives_null() -> None:
    skipped = switch("s", case("false", call("y")), no_match="skip")
    history = History(of_steps(parallel("g", a=[call("x"), skipped], b=[call("x")]), output="${steps.g.output}"))

    history.succeed("g/a/x", 1)
    history.succeed("g/b/x", 2)

    assert history.output == {"a": None, "b": 2}


def test_the_first_failure_by_time_stops_the_others_and_is_the_cause() -> None:
    history = History(of_steps(*THREE))

    stopping = history.fail("g/b/x", broken("FIRST"))

    assert facts_of(stopping, e.StopRequested) == [e.StopRequested("g", broken("FIRST").at("g/b/x"))]
    assert history.state.status is Status.RUNNING
    history.fail("g/a/x", broken("SECOND"))
    history.take_back(stopping)
    assert history.statuses() == {"g": "FAILED", "g/a/x": "FAILED", "g/b/x": "FAILED", "g/c/x": "CANCELLED"}
    assert history.reason == "FIRST"


def test_a_sibling_that_succeeds_while_it_is_stopped_has_succeeded() -> None:
    history = History(of_steps(parallel("g", a=[call("x"), call("y")], b=[call("x")])))
    history.fail("g/b/x", broken())

    history.succeed("g/a/x")

    assert history.statuses() == {"g": "FAILED", "g/a/x": "SUCCEEDED", "g/b/x": "FAILED"}
    assert history.state.status is Status.FAILED


def test_a_sibling_that_waits_for_its_next_try_is_cancelled_at_once() -> None:
    history = History(of_steps(*THREE))
    history.fail("g/a/x", unavailable())

    history.fail("g/b/x", broken())

    assert history.step("g/a/x").status is StepStatus.CANCELLED
    assert next_wake(history.state) is None
    assert history.open == ["g/c/x"]


@pytest.mark.parametrize(
    "failure", [host_lost(), Failure(Code.UNAVAILABLE, "INSTANCE_DRAINING", "drains", retryable=True)]
)
def test_a_sibling_that_is_lost_while_it_is_stopped_is_cancelled_and_not_repeated(failure: Failure) -> None:
    history = History(of_steps(*THREE))
    history.fail("g/b/x", broken())

    history.fail("g/a/x", failure)

    assert history.step("g/a/x").status is StepStatus.CANCELLED
    assert history.open == ["g/c/x"]


def test_a_blocked_sibling_is_taken_back_too() -> None:
    history = History(of_steps(*THREE))
    history.block("g/a/x")

    stopping = history.fail("g/b/x", broken())
    history.take_back(stopping)

    assert history.statuses() == {"g": "FAILED", "g/a/x": "CANCELLED", "g/b/x": "FAILED", "g/c/x": "CANCELLED"}


def test_branches_that_fail_in_one_turn_leave_nothing_to_stop() -> None:
    failing = call("x", input="${input.absent}")
    history = History(of_steps(parallel("g", a=[failing], b=[failing])))

    assert history.statuses() == {"g": "FAILED", "g/a/x": "FAILED", "g/b/x": "FAILED"}
    assert history.facts(e.StopRequested) == []
    assert history.state.failure is not None
    assert history.state.failure.step_path == "g/a/x"


def test_a_branch_that_fails_before_its_sibling_begins_leaves_the_sibling_to_be_taken_back() -> None:
    history = History(of_steps(parallel("g", a=[call("x", input="${input.absent}")], b=[call("x")])))

    history.take_back(history.events)

    assert history.statuses() == {"g": "FAILED", "g/a/x": "FAILED", "g/b/x": "CANCELLED"}


def test_a_failure_inside_stops_the_groups_around_it_from_inside_out() -> None:
    inner = parallel("i", a=[call("x")], b=[call("x")])
    history = History(of_steps(parallel("g", one=[inner, call("after")], two=[call("y")])))

    first = history.fail("g/one/i/a/x", broken())
    assert [stop.path for stop in facts_of(first, e.StopRequested)] == ["g/one/i"]
    history.take_back(first)
    history.take_back(history.events[-3:])

    assert history.statuses() == {
        "g": "FAILED",
        "g/one/i": "FAILED",
        "g/two/y": "CANCELLED",
        "g/one/i/a/x": "FAILED",
        "g/one/i/b/x": "CANCELLED",
        "g/one/after": "SKIPPED",
    }
    assert [stop.path for stop in history.facts(e.StopRequested)] == ["g/one/i", "g"]
    assert history.reason == "BROKEN"


def test_a_group_inside_what_stops_is_cancelled_with_its_steps() -> None:
    inner = parallel("i", a=[call("x")], b=[switch("s", otherwise(call("x")))])
    history = History(of_steps(parallel("g", one=[inner], two=[call("y")])))

    history.take_back(history.fail("g/two/y", broken()))

    assert history.statuses() == {
        "g": "FAILED",
        "g/one/i": "CANCELLED",
        "g/two/y": "FAILED",
        "g/one/i/a/x": "CANCELLED",
        "g/one/i/b/s": "CANCELLED",
        "g/one/i/b/s/otherwise/x": "CANCELLED",
    }


def test_a_group_inside_what_stops_that_had_all_it_needs_has_succeeded() -> None:
    inner = parallel("i", a=[call("x")], b=[call("x")])
    history = History(of_steps(parallel("g", one=[inner, call("after")], two=[call("y")])))
    history.succeed("g/one/i/a/x")
    history.fail("g/two/y", broken())

    history.succeed("g/one/i/b/x")

    assert history.statuses() == {
        "g": "FAILED",
        "g/one/i": "SUCCEEDED",
        "g/two/y": "FAILED",
        "g/one/i/a/x": "SUCCEEDED",
        "g/one/i/b/x": "SUCCEEDED",
    }


def test_a_branch_of_other_bytes_than_json_fails_whoever_looks_at_the_group() -> None:
    history = History(of_steps(*THREE, output="${steps.g.output}"))
    history.succeed("g/a/x", Payload(b"\x00", "image/png"))
    history.succeed("g/b/x", 1)

    history.succeed("g/c/x", 2)

    assert history.reason == "EXPRESSION_ERROR"
    assert history.state.failure is not None
    assert "branch 'a': a payload of type image/png" in history.state.failure.message


def test_broken_json_of_a_plugin_fails_whoever_puts_it_into_another_value() -> None:
    history = History(of_steps(*THREE, output="${steps.g.output}"))
    history.succeed("g/a/x", Payload(b'1, "c": 3'))
    history.succeed("g/b/x", 1)

    history.succeed("g/c/x", 2)

    assert history.reason == "EXPRESSION_ERROR"


def test_a_quorum_of_more_than_there_are_items_fails_before_anything_is_called() -> None:
    history = History(of_steps(map_("m", [1, 2], call("x"), join={"quorum": 3})))

    assert not history.facts(e.AttemptStarted)
    assert history.state.failure is not None
    assert history.state.failure.message == "0 of 2 branches of 'm' failed, and 3 had to succeed"


def test_a_quorum_that_cannot_be_reached_any_more_says_what_was_needed() -> None:
    history = History(of_steps(map_("m", [1, 2], call("x", retry={"max_attempts": 1}), join={"quorum": 2})))

    history.take_back(history.fail("m/0/x", broken()))

    assert history.state.failure is not None
    assert history.state.failure.message == "1 of 2 branches of 'm' failed, and 2 had to succeed: 0: does not work"
