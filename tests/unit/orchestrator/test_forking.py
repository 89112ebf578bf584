"""What forks take over: results that still hold, and effects, each of which has one owner."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from forgemesh.faults.control import ExecutionState as Refused
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.definition import Definition
from forgemesh.orchestrator.domain.fold import apply
from forgemesh.orchestrator.domain.fork_names import name_in_fork, name_in_origin
from forgemesh.orchestrator.domain.forking import Holder, check_origin, takeover
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.state import ExecutionState
from tests.unit.orchestrator.histories import History, broken
from tests.unit.orchestrator.workflows import call, case, map_, of_steps, otherwise, parallel, switch

UNDO = {"plugin": "p", "operation": "undo", "input": {"of": "${input.n}", "who": "${execution.id}"}}


def remembered(history: History, upto: int | None = None) -> ExecutionState:
    state = ExecutionState("default", history.state.execution_id, history.definition, remember=True)
    events = history.events if upto is None else history.events[:upto]
    for event in events:
        apply(state, event)
    return state


def taken(
    origin: History,
    target: Definition | None = None,
    *,
    rerun: Sequence[str] = (),
    upto: int | None = None,
    holders: dict[str, Holder] | None = None,
    same_input: bool = True,
) -> list[e.Fact]:
    state, newest = remembered(origin, upto), remembered(origin)
    wanted = target or origin.definition
    return takeover(state, newest, wanted, rerun, holders=holders or {}, same_input=same_input)


def forked(origin: History, target: Definition | None = None, given: object = None, **more: object) -> History:
    """A fork, of an input of its own if `given` is one."""
    facts = taken(origin, target, same_input=given is None, **more)  # type: ignore[arg-type]
    assert origin.state.started is not None
    own = origin.state.started.input.value() if given is None else given
    came_from = e.Origin(forked_from=origin.state.execution_id, forked_run="run")
    return History(target or origin.definition, own, facts, came_from, f"f-of-{origin.state.execution_id}")


def results(facts: Sequence[e.Fact]) -> list[str]:
    return [fact.path for fact in facts if isinstance(fact, e.ResultTaken)]


def effects(facts: Sequence[e.Fact]) -> list[str]:
    return [fact.path for fact in facts if isinstance(fact, e.EffectTaken)]


def terminated(history: History) -> History:
    history.turn(*control.terminate(history.state, "somebody", ""))
    return history


def two() -> History:
    """`a` and `b` succeeded, in that order, and can be undone; `c` runs."""
    history = History(of_steps(call("a", compensate=UNDO), call("b", compensate=UNDO), call("c")), {"n": 1})
    history.succeed("a", "of a")
    history.succeed("b", "of b")
    return history


def undone_by(history: History) -> list[str]:
    """Fail what runs, let everything be undone, and say what was, in order."""
    for path in history.open:
        if not path.endswith(":compensate"):
            history.fail(path, broken())
    order: list[str] = []
    while history.open:
        order.append(history.open[0])
        history.succeed(history.open[0])
    assert history.state.status.value == "COMPENSATED"
    assert history.refolded().status == history.state.status
    return [path.removesuffix(":compensate") for path in order]


def test_a_fork_undoes_what_it_took_over_when_it_fails() -> None:
    fork = forked(terminated(two()))

    assert fork.open == ["c"]
    assert undone_by(fork) == ["b", "a"]


def test_the_undoing_sees_what_it_would_have_seen_in_the_origin() -> None:
    fork = forked(terminated(two()), given={"n": 2})
    fork.fail("c", broken())

    given = fork.step("b:compensate").input

    assert given == Payload(b'{"of":1,"who":"e-1"}')


def test_a_fork_of_a_fork_owns_what_the_first_one_owned_and_sees_what_its_first_owner_saw() -> None:
    first = terminated(forked(terminated(two()), given={"n": 2}))
    second = forked(first, given={"n": 3})
    second.fail("c", broken())

    assert second.step("b:compensate").input == Payload(b'{"of":1,"who":"e-1"}')
    second.succeed("b:compensate")
    second.succeed("a:compensate")
    assert second.state.status.value == "COMPENSATED"


def test_a_fork_that_succeeds_undoes_nothing_and_may_be_forked_with_its_effects() -> None:
    fork = forked(terminated(two()))
    fork.succeed("c")

    assert effects(taken(fork, rerun=["c"])) == ["a", "b"]


def test_a_running_origin_keeps_its_effects_and_the_fork_says_whose_they_are() -> None:
    facts = taken(two())

    assert (results(facts), effects(facts)) == (["a", "b"], [])
    assert {fact.owner for fact in facts if isinstance(fact, e.ResultTaken)} == {"e-1@run-of-e-1"}


def test_what_another_fork_has_claimed_is_lent() -> None:
    facts = taken(terminated(two()), holders={"a": Holder("f@1", stands=True)})

    assert effects(facts) == ["b"]
    assert [fact.owner for fact in facts if isinstance(fact, e.ResultTaken)] == ["f@1", ""]


def test_what_another_fork_has_claimed_and_undone_runs_again() -> None:
    facts = taken(terminated(two()), holders={"a": Holder("f@1", stands=False)})

    assert (results(facts), effects(facts)) == ([], [])


def test_what_was_undone_before_a_terminate_runs_again() -> None:
    origin = two()
    origin.fail("c", broken())
    origin.succeed("b:compensate")
    terminated(origin)
    facts = taken(origin)

    assert origin.state.left_to_do == ("a",)
    assert results(facts) == []  # the undoing of a had begun


def test_what_was_not_undone_before_a_terminate_goes_over() -> None:
    steps = [call(name, compensate=UNDO) for name in ("a", "b", "c")]
    origin = History(of_steps(*steps, call("d")), {"n": 1})
    for name in ("a", "b", "c"):
        origin.succeed(name)
    origin.fail("d", broken())
    origin.succeed("c:compensate")
    terminated(origin)
    facts = taken(origin)

    assert (results(facts), effects(facts)) == (["a"], ["a"])


def test_a_result_behind_one_that_was_undone_is_not_taken() -> None:
    steps = (call("a"), call("b", compensate=UNDO), call("c"), call("d"))
    origin = History(of_steps(*steps), {"n": 1})
    for name in ("a", "b", "c"):
        origin.succeed(name)
    origin.fail("d", broken())
    terminated(origin)

    assert results(taken(origin)) == ["a"]


@pytest.mark.parametrize("stop", ["cancel", "timeout"])
def test_an_execution_that_is_about_to_undo_what_it_did_is_not_forked(stop: str) -> None:
    origin = History(of_steps(call("a", compensate=UNDO), call("b"), timeout="5s"), {"n": 1})
    origin.succeed("a")
    if stop == "cancel":
        origin.turn(*control.cancel(origin.state, "somebody", ""))
    else:
        origin.wait(5)

    with pytest.raises(Refused, match="undone next"):
        check_origin(origin.state)


def test_steps_that_ended_after_the_checkpoint_stay_with_the_origin() -> None:
    origin = two()
    upto = next(index for index, event in enumerate(origin.events, 1) if isinstance(event.fact, e.AttemptSucceeded))
    facts = taken(terminated(origin), upto=upto)

    assert (results(facts), effects(facts)) == (["a"], ["a"])


def test_the_effect_of_a_step_that_runs_again_stays_with_the_origin() -> None:
    facts = taken(terminated(two()), rerun=["b"])

    assert (results(facts), effects(facts)) == (["a"], ["a"])


def test_a_step_that_can_no_longer_be_undone_leaves_its_effect_with_the_origin() -> None:
    target = of_steps(call("a"), call("b", compensate=UNDO), call("c"))
    facts = taken(terminated(two()), target)

    assert effects(facts) == ["b"]
    assert [fact.owner for fact in facts if isinstance(fact, e.ResultTaken)] == ["e-1@run-of-e-1", ""]


def test_what_is_inside_a_group_is_undone_by_the_fork_in_order_of_completion() -> None:
    inner = {"plugin": "p", "operation": "undo", "input": {"of": "${steps.x.output}"}}
    group = parallel("g", a=[call("x", compensate=inner)], b=[call("x", compensate=inner)])
    origin = History(of_steps(group, call("c")))
    origin.succeed("g/b/x", "second branch")
    origin.succeed("g/a/x", "first branch")
    fork = forked(terminated(origin))

    fork.fail("c", broken())
    assert fork.step("g/a/x:compensate").input == Payload(b'{"of":"first branch"}')
    assert undone_by(fork) == ["g/a/x", "g/b/x"]


def test_iterations_of_a_map_are_undone_by_the_fork_with_what_they_were_for() -> None:
    inner = {"plugin": "p", "operation": "undo", "input": {"of": "${item}"}}
    origin = History(of_steps(map_("m", ["u", "v"], call("x", compensate=inner)), call("c")))
    origin.succeed("m/0/x")
    origin.succeed("m/1/x")
    fork = forked(terminated(origin))

    fork.fail("c", broken())
    assert fork.step("m/1~1/x:compensate").input == Payload(b'{"of":"v"}')
    assert undone_by(fork) == ["m/1~1/x", "m/0~1/x"]


def half_done_map(items: list[object], done: dict[int, object]) -> History:
    inner = {"plugin": "p", "operation": "undo", "input": {"of": "${item}"}}
    steps = map_("m", "${input.items}", call("x", input="${item}", compensate=inner), call("y", input="${item}"))
    origin = History(of_steps(steps, output="${steps.m.output}"), {"items": items})
    for number, output in done.items():
        origin.succeed(f"m/{number}/x", output)
    return terminated(origin)


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


def test_an_effect_of_an_item_that_is_no_longer_there_is_undone_too_and_none_twice() -> None:
    origin = half_done_map(["a", "b"], {0: "of a", 1: "of b"})
    fork = forked(origin, given={"items": ["b", "n"]})
    fork.succeed("m/1/x")
    fork.fail("m/0/y", broken())
    fork.take_back(fork.events)

    assert undone_by(fork) == ["m/1/x", "m/1~1/x", "m/0~1/x"]


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


def test_a_fork_whose_variables_cannot_be_had_undoes_what_it_took() -> None:
    target = of_steps(call("a", compensate=UNDO), call("b", compensate=UNDO), call("c"), vars={"v": "${input.absent}"})
    fork = forked(terminated(two()), target)

    assert fork.open == ["b:compensate"]
    assert undone_by(fork) == ["b", "a"]


def test_a_fork_is_the_same_after_a_crash() -> None:
    origin = half_done_map(["a", "b"], {0: "of a", 1: "of b"})
    fork = forked(origin, given={"items": ["b", "n"]})
    fork.crash()

    assert fork.refolded().taken.keys() == fork.state.taken.keys()
    assert [step.path for step in fork.refolded().undoable] == ["m/0~1/x", "m/1~1/x"]


@pytest.mark.parametrize("path", ["a", "g/b/x", "m/3/x", "m/3~1/n/0~4/x"])
def test_the_name_of_an_effect_in_a_fork_can_be_led_back(path: str) -> None:
    assert name_in_origin(name_in_fork(path)) == path
