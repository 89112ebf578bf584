"""Effects and forks: each has one owner, who undoes it."""

from __future__ import annotations

import pytest

from forgemesh.faults.control import ExecutionState as Refused
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.checkpoint import checkpoint_at
from forgemesh.orchestrator.execution.fold import apply
from forgemesh.orchestrator.execution.fork_names import name_in_fork, name_in_origin
from forgemesh.orchestrator.execution.forking import Holder, check_origin
from forgemesh.orchestrator.execution.state import ExecutionState
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
    undone_by,
)
from tests.unit.orchestrator.histories import History, broken, host_lost
from tests.unit.orchestrator.workflows import call, map_, of_steps, parallel


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


def test_an_effect_of_an_item_that_is_no_longer_there_is_undone_too_and_none_twice() -> None:
    origin = half_done_map(["a", "b"], {0: "of a", 1: "of b"})
    fork = forked(origin, given={"items": ["b", "n"]})
    fork.succeed("m/1/x")
    fork.fail("m/0/y", broken())
    fork.take_back(fork.events)

    assert undone_by(fork) == ["m/1/x", "m/1~1/x", "m/0~1/x"]


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


def test_a_terminate_names_what_may_have_been_done_as_well() -> None:
    steps = [call(name, after=[], compensate=UNDO) for name in ("done", "sent", "doubtful", "blocked")]
    steps[2] |= {"idempotent": False}
    origin = History(of_steps(*steps), {"n": 1})
    origin.succeed("done")
    origin.fail("doubtful", host_lost())
    origin.block("blocked")

    terminated(origin)

    assert set(origin.state.left_to_do) == {"done", "sent", "doubtful"}


def test_an_effect_that_is_taken_over_is_no_checkpoint() -> None:
    fork = forked(terminated(two()))
    state = ExecutionState("default", "f", fork.definition)
    found = []
    for event in fork.events:
        apply(state, event)
        found.append(checkpoint_at(state, event, 0))

    assert found == [None] * len(fork.events)
