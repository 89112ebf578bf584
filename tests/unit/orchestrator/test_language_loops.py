"""Loops as they are written, and what of them is refused when they are registered."""

from __future__ import annotations

from typing import Any

import pytest

from forgemesh.orchestrator.api.workflows import workflow_from_message, workflow_to_message
from forgemesh.orchestrator.workflow.definition import Loop
from tests.unit.orchestrator.workflows import call, loop, map_, of_steps, parsed, violations, violations_of


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def keys(**changed: object) -> dict[str, Any]:
    """A loop with these keys in place of the usual ones; None leaves one out."""
    usual: dict[str, object] = {"until": "index > 2", "max_iterations": 3, "steps": [call("x")]}
    return {"id": "l", "loop": {key: value for key, value in (usual | changed).items() if value is not None}}


def test_a_loop_is_read_as_it_was_written() -> None:
    undone = call("x", compensate={"plugin": "p", "operation": "o"})
    steps = of_steps(keys(), keys(delay="1.5s", on_limit="succeed", steps=[undone]) | {"id": "m"}).steps

    bare, full = steps
    assert isinstance(bare, Loop)
    assert isinstance(full, Loop)
    assert (bare.until.program.source, bare.max_iterations, bare.delay, bare.on_limit) == ("index > 2", 3, 0.0, "fail")
    assert (full.delay, full.on_limit, full.undoable, bare.undoable) == (1.5, "succeed", True, False)
    assert [step.id for step in bare.steps] == ["x"]


@pytest.mark.parametrize(
    ("changed", "place", "message"),
    [
        ({"until": None}, "steps[0].loop.until", "until is missing"),
        ({"until": ""}, "steps[0].loop.until", "the expression is empty"),
        ({"until": True}, "steps[0].loop.until", "until must be a text, not true"),
        ({"until": "1 + 2"}, "steps[0].loop.until", "a condition must be true or false, this gives INT"),
        ({"until": "index +"}, "steps[0].loop.until", "Syntax error"),
        ({"until": "steps.y.output"}, "steps[0].loop.until", "steps.y.output"),
        ({"until": "item == 1"}, "steps[0].loop.until", "item"),
        ({"max_iterations": None}, "steps[0].loop.max_iterations", "say how many rounds there may be at most"),
        ({"max_iterations": 0}, "steps[0].loop.max_iterations", "0 is not between 1 and 100000"),
        ({"max_iterations": -1}, "steps[0].loop.max_iterations", "-1 is not between 1 and 100000"),
        ({"max_iterations": 100_001}, "steps[0].loop.max_iterations", "100001 is not between 1 and 100000"),
        ({"max_iterations": "3"}, "steps[0].loop.max_iterations", "must be a whole number"),
        ({"max_iterations": 2.5}, "steps[0].loop.max_iterations", "must be a whole number"),
        ({"max_iterations": True}, "steps[0].loop.max_iterations", "must be a whole number"),
        ({"steps": []}, "steps[0].loop.steps", "there must be at least one step"),
        ({"steps": None}, "steps[0].loop.steps", "there must be at least one step"),
        ({"delay": "-5s"}, "steps[0].loop.delay", "is not a duration"),
        ({"delay": "0s"}, "steps[0].loop.delay", "is not a duration"),
        ({"delay": 5}, "steps[0].loop.delay", "is not a duration"),
        ({"delay": "500d"}, "steps[0].loop.delay", "is not a duration"),
        ({"on_limit": "stop"}, "steps[0].loop.on_limit", "'stop' is none of fail, succeed"),
        ({"over": [1]}, "steps[0].loop.over", "unknown key"),
        ({"while": "true"}, "steps[0].loop.while", "unknown key"),
        ({"join": "all"}, "steps[0].loop.join", "unknown key"),
        ({"steps": [call("x", input="${item}")]}, "steps[0].loop.steps[0].input", "item"),
    ],
)
def test_a_loop_that_cannot_work_is_refused_with_its_place(changed: dict[str, Any], place: str, message: str) -> None:
    found = one(violations_of(keys(**changed)))

    assert found.startswith(f"{place}")
    assert message in found


@pytest.mark.parametrize("said", [None, [], "forever", 3])
def test_a_loop_is_a_mapping(said: object) -> None:
    assert violations_of({"id": "l", "loop": said})


def test_a_mistake_in_a_loop_is_told_with_its_line() -> None:
    source = """\
name: w
steps:
  - id: l
    loop:
      until: steps.x.output ==
      max_iterations: 0
      steps:
        - {id: x, call: {plugin: p, operation: o}}
"""
    found = violations(source)

    assert [message.partition(":")[0] for message in found] == ["steps[0].loop.until", "steps[0].loop.max_iterations"]
    assert "line 5" in found[0]
    assert "line 6, column 23" in found[1]


def test_the_condition_sees_the_steps_of_the_round_and_what_is_around_the_loop() -> None:
    until = "steps.x.output == steps.a.output && index > 0 && vars.v > 0 && input.n > 0 && item == 1"

    assert not violations_of(call("a"), map_("m", [1], loop("l", until, call("x"))), vars={"v": 1})


@pytest.mark.parametrize("name", ["steps.x.output", "index", "steps.l.index"])
def test_nothing_outside_reaches_into_a_round(name: str) -> None:
    assert violations_of(loop("l", "true", call("x")), call("b", input=f"${{{name}}}"))
    assert violations_of(loop("l", "true", call("x")), output=f"${{{name}}}")
    assert violations_of(loop("l", "true", call("x")) | {"when": f"{name} == 1"})


def test_a_step_of_a_round_waits_for_no_step_outside() -> None:
    assert "no step of this sequence" in one(violations_of(call("a"), loop("l", "true", call("x", after=["a"]))))


def test_a_condition_that_waits_for_what_waits_for_the_loop_is_a_circle() -> None:
    steps = [loop("l", "steps.late.output", call("x")) | {"after": []}, call("late", after=["l"])]

    assert "l -> late -> l" in violations_of(*steps)[0]
    assert "l -> l" in violations_of(loop("l", "steps.l.output", call("x")))[0]


def test_what_a_condition_calls_by_the_name_of_its_own_step_means_that_step() -> None:
    assert not violations_of(loop("l", "steps.x.output", call("x")) | {"after": []}, call("x", after=["l"]))


def test_a_loop_counts_among_the_groups_inside_one_another() -> None:
    step: dict[str, object] = call("x")
    for _ in range(50):
        step = loop("l", "true", step)

    assert "groups are nested deeper than 50" in one(violations_of(step))


def test_a_variable_that_a_loop_sets_is_set_by_its_branch() -> None:
    branches = {name: [loop("l", "true", call("x", set={"v": 1}))] for name in ("a", "b")}

    found = one(violations_of({"id": "p", "parallel": {"branches": branches}}, vars={"v": 0}))
    assert "branches a, b all set variable 'v'" in found


@pytest.mark.parametrize(
    "changed", [{"until": "index > 1"}, {"max_iterations": 4}, {"on_limit": "succeed"}, {"delay": "1s"}]
)
def test_every_key_of_a_loop_counts_in_the_content_of_its_definition(changed: dict[str, object]) -> None:
    assert of_steps(keys()).content_hash != of_steps(keys(**changed)).content_hash


def test_a_loop_travels_as_a_message_without_loss() -> None:
    source = of_steps(keys(delay="90s", on_limit="succeed")).source

    message = workflow_to_message(source)
    assert message is not None
    again = workflow_from_message(message)

    assert parsed(again).content_hash == parsed(source).content_hash
