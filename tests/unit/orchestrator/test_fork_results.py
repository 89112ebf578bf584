"""Which results still hold in a fork."""

from __future__ import annotations

import pytest

from forgemesh.orchestrator.values.payload import Payload
from tests.unit.orchestrator.forks import (
    UNDO,
    effects,
    forked,
    half_done_map,
    results,
    taken,
    terminated,
    two,
)
from tests.unit.orchestrator.histories import History, broken
from tests.unit.orchestrator.workflows import call, case, map_, of_steps, otherwise, parallel, switch


def test_iterations_are_found_by_their_items_and_not_by_their_indexes() -> None:
    origin = half_done_map(["a", "b", "c"], {0: "of a", 1: "of b"})

    fork = forked(origin, given={"items": ["b", "x", "a", "b"]})

    outputs = {path: step.output for path, step in fork.state.steps.items() if step.taken}
    assert outputs == {"m/0/x": Payload(b'"of b"'), "m/2/x": Payload(b'"of a"')}
    assert set(fork.open) == {"m/0/y", "m/1/x", "m/2/y", "m/3/x"}


def test_equal_items_are_told_apart_by_which_of_them_they_are() -> None:
    origin = half_done_map(["a", "a", "a"], {1: "second"})

    fork = forked(origin, given={"items": ["z", "a", "a"]})

    assert [path for path, step in fork.state.steps.items() if step.taken] == ["m/2/x"]


def test_an_item_is_equal_by_value_and_type() -> None:
    origin = half_done_map([{"k": 1, "l": 2}, 1, True, "1"], {0: 0, 1: 1, 2: 2, 3: 3})

    fork = forked(origin, given={"items": [1.0, "1", {"l": 2, "k": 1}]})

    assert {path: step.output for path, step in fork.state.steps.items() if step.taken} == {
        "m/1/x": Payload(b"3"),
        "m/2/x": Payload(b"0"),
    }


def test_a_result_that_depends_on_the_index_holds_for_that_index_only() -> None:
    steps = map_("m", "${input.items}", call("x", input=["${item}", "${index}"]), call("y"))
    origin = History(of_steps(steps), {"items": ["a", "b"]})
    origin.succeed("m/0/x")
    origin.succeed("m/1/x")
    fork = forked(terminated(origin), given={"items": ["b", "b", "a"]})

    assert [path for path, step in fork.state.steps.items() if step.taken] == []


@pytest.mark.parametrize(
    "changed",
    [
        parallel("m", a=[call("x")]),
        call("m"),
        map_("m", ["a", "b"], call("x", call={"plugin": "p", "operation": "other"})),
        map_("m", ["a", "b"], call("x"), call("new")),
        map_("m", ["a", "b"], call("x"), join="any"),
        map_("m", ["b", "a"], call("x")),
    ],
)
def test_a_group_that_has_changed_is_not_taken_as_a_whole(changed: dict[str, object]) -> None:
    origin = History(of_steps(map_("m", ["a", "b"], call("x")), call("c")))
    origin.succeed("m/0/x")
    origin.succeed("m/1/x")

    assert "m" not in results(taken(terminated(origin), of_steps(changed, call("c"))))


@pytest.mark.parametrize(
    "changed",
    [
        {"call": {"plugin": "p", "operation": "other"}},
        {"call": {"plugin": "other", "operation": "o"}},
        {"call": {"plugin": "p@^2", "operation": "o"}},
        {"input": {"n": 2}},
        {"when": "input.n > 0"},
        {"set": {"v": 1}},
    ],
)
def test_a_call_that_does_something_else_now_is_not_taken(changed: dict[str, object]) -> None:
    origin = History(of_steps(call("a", input={"n": 1}), call("b"), vars={"v": 0}))
    origin.succeed("a")

    target = of_steps(call("a", input={"n": 1}) | changed, call("b"), vars={"v": 0})

    assert results(taken(terminated(origin), target)) == []


@pytest.mark.parametrize(
    "changed", [{"retry": {"max_attempts": 9}}, {"timeouts": {"start_to_close": "9s"}}, {"compensate": UNDO}]
)
def test_a_call_that_is_only_tried_otherwise_is_taken(changed: dict[str, object]) -> None:
    origin = History(of_steps(call("a"), call("b")))
    origin.succeed("a")

    assert results(taken(terminated(origin), of_steps(call("a", **changed), call("b")))) == ["a"]


def test_a_branch_of_a_switch_is_known_by_its_condition_too() -> None:
    origin = History(of_steps(switch("s", case("input.n > 0", call("x"), call("y")), otherwise(call("z")))), {"n": 1})
    origin.succeed("s/case_1/x")
    terminated(origin)
    same = switch("s", case("input.n > 0", call("x"), call("new")), otherwise(call("z")))
    shifted = switch("s", case("input.n > 9", call("x"), call("y")), case("input.n > 0", call("x"), call("y")))

    assert results(taken(origin, of_steps(same))) == ["s/case_1/x"]
    assert results(taken(origin, of_steps(shifted))) == []


def test_a_branch_of_a_parallel_is_known_by_its_name() -> None:
    origin = History(of_steps(parallel("g", a=[call("x")], b=[call("x"), call("y")])))
    origin.succeed("g/a/x")
    origin.succeed("g/b/x")
    target = of_steps(parallel("g", b=[call("x"), call("y")], c=[call("x")]))

    assert results(taken(terminated(origin), target)) == ["g/b/x"]


def test_a_result_behind_a_new_step_is_not_taken() -> None:
    origin = two()
    target = of_steps(call("a", compensate=UNDO), call("n"), call("b", compensate=UNDO), call("c"))
    facts = taken(terminated(origin), target)

    assert (results(facts), effects(facts)) == (["a"], ["a"])


def test_a_failure_that_was_taken_up_is_a_result_and_what_took_it_up_is_not_done_again() -> None:
    steps = (call("a"), call("skipped"), call("rescue", trigger="all_done"), call("c"))
    origin = History(of_steps(*steps, output="${steps.a.error.reason}"))
    origin.fail("a", broken("NO_STOCK"))
    origin.succeed("rescue")
    fork = forked(terminated(origin))
    assert fork.open == ["c"]
    fork.succeed("c")

    assert fork.output == "NO_STOCK"


def test_a_failure_that_nobody_took_up_runs_again_with_what_comes_after_it() -> None:
    origin = History(of_steps(call("a"), call("rescue", trigger="all_done", when="false")))
    origin.fail("a", broken())

    assert results(taken(origin)) == []


def test_a_group_in_which_nothing_was_done_is_taken_as_such() -> None:
    branches = {"a": [map_("m", [], call("x"))], "b": [call("x"), call("y")]}
    origin = History(of_steps({"id": "g", "parallel": {"join": "any", "branches": branches}}))
    origin.succeed("g/b/x")
    fork = forked(terminated(origin))

    assert fork.open == ["g/b/y"]


def test_what_the_branches_of_a_taken_group_had_set_is_not_set_back() -> None:
    group = parallel("g", a=[call("x", set={"v": 7})])
    origin = History(of_steps(group, call("c"), vars={"v": 0}, output="${vars.v}"))
    origin.succeed("g/a/x")
    fork = forked(terminated(origin))
    fork.succeed("c")

    assert fork.output == 7


def test_a_map_that_has_ended_runs_for_the_items_of_another_list_that_are_new() -> None:
    steps = (map_("m", "${input.items}", call("x", input="${item}")), call("c"))
    origin = History(of_steps(*steps, output="${steps.m.output}"), {"items": ["a", "b"], "n": 1})
    origin.succeed("m/0/x", "of a")
    origin.succeed("m/1/x", "of b")
    terminated(origin)
    same = forked(origin, given={"items": ["a", "b"], "n": 2})
    other = forked(origin, given={"items": ["b", "z"], "n": 1})

    assert same.open == ["c"]
    assert other.open == ["m/1/x"]
    other.succeed("m/1/x", "of z")
    other.succeed("c")
    assert other.output == ["of b", "of z"]


def test_a_map_that_was_taken_before_runs_again_if_its_list_may_be_another() -> None:
    steps = (
        map_("m", "${input.items}", call("x")),
        map_(
            "k",
            [1],
            call("x"),
        )
        | {"after": []},
        call("c"),
    )
    origin = History(of_steps(*steps), {"items": ["a"]})
    origin.succeed("m/0/x")
    origin.succeed("k/0/x")
    first = terminated(forked(terminated(origin)))

    assert results(taken(first, given={"items": ["b"]})) == ["k"]


def test_what_is_skipped_because_of_what_is_before_it_is_skipped_again_and_only_once() -> None:
    steps = (call("a", when="false"), call("b", trigger="any_succeeded"), call("c"))
    origin = terminated(History(of_steps(*steps)))
    assert origin.step("b").skipped == "UPSTREAM_SKIPPED"

    fork = forked(origin)

    assert results(taken(origin)) == ["a"]
    assert fork.step("b").skipped == "UPSTREAM_SKIPPED"
