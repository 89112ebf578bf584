import tracemalloc

import pytest

from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.orchestrator.workflow.definition import Trigger
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.parse.definition import parse_definition
from forgemesh.orchestrator.workflow.parse.fields import Mistakes
from tests.unit.orchestrator.workflows import call, case, child, map_, of_steps, parallel, switch, violations_of, wait


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_without_after_each_step_follows_the_one_before_it() -> None:
    sequence = of_steps(call("a"), call("b"), call("c")).steps

    assert sequence.before == ((), (0,), (1,))
    assert sequence.following == ((1,), (2,), ())
    assert sequence.first == (0,)


def test_after_makes_a_graph_in_which_steps_may_be_declared_later() -> None:
    sequence = of_steps(call("join", after=["left", "right"]), call("left", after=[]), call("right", after=[])).steps

    assert sequence.before == ((1, 2), (), ())
    assert sequence.following == ((), (0,), (0,))
    assert sequence.first == (1, 2)
    assert sequence[0].after == (1, 2)


def test_an_empty_after_starts_at_once_and_a_step_without_one_still_follows_the_list() -> None:
    sequence = of_steps(call("a"), call("b", after=[]), call("c")).steps

    assert sequence.before == ((), (), (1,))


def test_a_step_that_is_named_twice_counts_once() -> None:
    assert of_steps(call("a"), call("b", after=["a", "a"])).steps.before == ((), (0,))


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_trigger_is_one_of_four(trigger: Trigger) -> None:
    assert of_steps(call("a"), call("b", trigger=trigger.value)).steps[1].trigger is trigger


def test_a_step_with_nothing_before_it_cannot_wait_for_any_of_it() -> None:
    message = one(violations_of(call("a", trigger="any_succeeded"), call("b")))

    assert message.endswith("any_succeeded needs a step that comes before; there is none")


def test_another_trigger_is_refused_with_the_four() -> None:
    message = one(violations_of(call("a"), call("b", trigger="always")))

    assert message.endswith("'always' is none of all_succeeded, none_failed, any_succeeded, all_done")


def test_every_kind_of_step_has_the_keys_that_all_have() -> None:
    common: dict[str, object] = {"after": ["a"], "trigger": "all_done", "when": "input.x", "set": {"v": 1}}
    steps = [
        call("b"),
        child("c", "w"),
        wait("d", "5m"),
        map_("e", [1], call("x")),
        parallel("f", one=[call("x")]),
        switch("g", case("true", call("x"))),
    ]

    definition = of_steps(call("a"), *[step | common for step in steps], vars={"v": 0})

    assert {(step.after, step.trigger, bool(step.when), len(step.sets)) for step in definition.steps.steps[1:]} == {
        ((0,), Trigger.ALL_DONE, True, 1)
    }


def test_a_step_knows_where_its_text_stands() -> None:
    definition = of_steps(call("a"), wait("b", "1s"))

    assert [step.where for step in definition.steps] == ["line 1, column 77: ", "line 1, column 113: "]


@pytest.mark.parametrize("name", ["z", "A", "а", "", 3, None, ["a"], {}])  # noqa: RUF001 - the third is Cyrillic
def test_only_steps_of_the_same_sequence_can_be_waited_for(name: object) -> None:
    message = one(violations_of(call("a"), call("b", after=["a", name])))

    assert message.startswith("steps[1].after[1]: ")
    assert message.endswith("is no step of this sequence; it has: a, b")


def test_a_step_inside_a_group_cannot_wait_for_one_outside() -> None:
    message = one(violations_of(call("a"), parallel("g", one=[call("x", after=["a"])])))

    assert message.endswith("'a' is no step of this sequence; it has: x")


def test_after_is_a_list() -> None:
    assert one(violations_of(call("a"), call("b", after="a"))).endswith("after must be a list, not 'a'")


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([call("a", after=["a"])], "a -> a"),
        ([call("a", after=["b"]), call("b", after=["a"])], "a -> b -> a"),
        ([call("a", after=["b"]), call("b")], "a -> b -> a"),
        ([call("a", after=["b"]), call("b", after=[], input="${steps.a.output}")], "a -> b -> a"),
        ([call("a", after=["c"]), call("b", when="steps.a.status == 'FAILED'"), call("c")], "a -> c -> b -> a"),
        ([call("a", after=["g"]), parallel("g", b=[call("x", input="${steps.a.output}")])], "a -> g -> a"),
        ([call("a", after=["m"]), map_("m", "${steps.a.output}", call("x"))], "a -> m -> a"),
    ],
)
def test_steps_that_wait_for_one_another_are_named_in_a_cycle(steps: list[object], path: str) -> None:
    messages = violations_of(*steps)

    assert any(message.endswith(f"the steps wait for one another in a cycle: {path}") for message in messages), messages


def test_a_cycle_of_a_thousand_steps_is_found_in_moments_and_shown_by_its_ends() -> None:
    steps = [call(f"s{n}", after=[f"s{(n + 1) % 1000}"]) for n in range(1000)]
    message = one(violations_of(*steps))

    assert "s0 -> s1 -> " in message
    assert message.endswith("s998 -> s999 -> s0")
    assert len(message) < 400


def test_a_step_sees_all_that_lies_before_it_in_the_graph() -> None:
    assert not violations_of(
        call("last", after=["left", "right"], input=["${steps.first.output}", "${steps.left.output}"]),
        call("left", after=["first"]),
        call("right", after=["first"]),
        call("first", after=[]),
        output="${steps.last.output}",
    )


@pytest.mark.parametrize("fact", ["output", "status", "error"])
def test_a_step_that_runs_beside_another_cannot_see_it(fact: str) -> None:
    message = one(
        violations_of(call("a"), call("b", after=["a"]), call("c", after=["a"], input=f"${{steps.b.{fact}}}"))
    )

    assert message.endswith(f"undeclared reference to 'steps.b.{fact}'; steps that have ended here: a")


def test_steps_inside_a_group_see_what_lies_before_the_group() -> None:
    steps = [call("a"), call("b", after=[]), map_("m", "${input}", call("x", input="${steps.a.output}"))]

    assert "undeclared reference to 'steps.a.output'; steps that have ended here: b" in one(violations_of(*steps))
    assert not violations_of(*steps[:2], steps[2] | {"after": ["a"]})


def test_an_id_means_the_step_of_the_nearest_sequence_even_if_that_runs_beside() -> None:
    inner = [call("x"), call("y", after=[], input="${steps.x.output}")]

    assert "undeclared reference to 'steps.x.output'" in one(violations_of(call("x"), parallel("g", one=inner)))
    assert not violations_of(call("x"), parallel("g", one=[call("y", input="${steps.x.output}"), call("z")]))


def test_the_output_sees_every_outermost_step() -> None:
    output = {"a": "${steps.a.output}", "b": "${steps.b.error}", "v": "${vars.v}"}

    assert not violations_of(call("a", after=["b"]), call("b", after=[]), output=output, vars={"v": 1})


def diamonds(count: int) -> list[dict[str, object]]:
    steps = [call("j0")]
    for n in range(1, count + 1):
        before, sides = [f"j{n - 1}"], [f"l{n}", f"r{n}"]
        steps += [call(side, after=before) for side in sides]
        steps.append(call(f"j{n}", after=sides, input={side: f"${{steps.{side}.output}}" for side in (*sides, "j0")}))
    return steps


def test_stacked_diamonds_are_read_in_linear_time() -> None:
    """Twenty of them have a million paths."""
    assert not violations_of(*diamonds(20))
    assert not violations_of(*diamonds(300))


def layered(edges: int) -> list[dict[str, object]]:
    """A hundred steps, and others that name all of them until there are so many edges."""
    sources = [call(f"a{n}", after=[]) for n in range(100)]
    names = [f"a{n}" for n in range(100)]
    targets = [call(f"b{n}", after=names[: min(100, edges - n * 100)]) for n in range(-(-edges // 100))]
    return [*sources, *targets]


def test_there_are_at_most_five_thousand_edges() -> None:
    assert not violations_of(*layered(5_000))
    assert one(violations_of(*layered(5_001))).endswith("there are more than 5000 entries in `after`")


def test_a_text_of_nothing_but_steps_takes_no_more_memory_than_its_first_thousand() -> None:
    tree = {"name": "w", "steps": [{}] * 30_000}
    tracemalloc.start()

    with pytest.raises(DefinitionInvalid):
        parse_definition(tree, "", CelCompiler(), Mistakes())

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
