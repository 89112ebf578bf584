import json
from typing import Any

import pytest

from forgemesh.orchestrator.values.retry import RetryRule
from forgemesh.orchestrator.workflow.definition import Call, Parallel, Switch
from forgemesh.orchestrator.workflow.expressions.template import EMPTY
from tests.unit.orchestrator.workflows import (
    CALL,
    call,
    case,
    of_steps,
    otherwise,
    parallel,
    parsed,
    switch,
    violations,
    violations_of,
)


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_a_definition_is_read_as_it_was_written() -> None:
    definition = parsed(
        """
        name: weather-report
        version: 1.2.3
        description: What the weather was.
        input: {path: string, days: integer?}
        timeout: 2m
        steps:
          - id: read
            call: {plugin: weather.reader@^1.2, operation: read}
            input: {path: "${input.path}"}
            retry: {max_attempts: 5, initial: 100ms, coefficient: 3, max_interval: 1s, non_retryable: [BAD]}
            timeouts: {start_to_close: 5s}
          - id: prepare
            switch:
              - when: size(steps.read.output) > 2
                name: many
                steps: [{id: a, call: {plugin: p, operation: o}}]
              - otherwise: [{id: b, call: {plugin: p, operation: o}}]
            no_match: skip
          - id: analyse
            parallel:
              join: all
              branches:
                z: [{id: a, call: {plugin: p, operation: o}}]
                y: [{id: a, call: {plugin: p, operation: o}}]
        output: "${steps.analyse.output}"
        """
    )
    read, prepare, analyse = definition.steps

    assert (definition.name, definition.version, definition.timeout) == ("weather-report", "1.2.3", 120.0)
    assert definition.input is not None
    assert {name: (f.type, f.required) for name, f in definition.input.items()} == {
        "path": ("string", True),
        "days": ("integer", False),
    }
    assert isinstance(read, Call)
    assert (read.target.plugin_id, read.target.version_range, read.target.operation) == (
        "weather.reader",
        "^1.2",
        "read",
    )
    assert read.timeouts.start_to_close == 5.0
    assert read.retry == RetryRule(
        max_attempts=5, initial=0.1, coefficient=3.0, max_interval=1.0, non_retryable=frozenset({"BAD"})
    )
    assert isinstance(prepare, Switch)
    assert [branch.name for branch in prepare.branches] == ["many", "otherwise"]
    assert prepare.no_match == "skip"
    assert isinstance(analyse, Parallel)
    assert [branch.name for branch in analyse.branches] == ["z", "y"]
    assert [path for path, _ in definition.calls()] == [
        "read",
        "prepare/many/a",
        "prepare/otherwise/b",
        "analyse/z/a",
        "analyse/y/a",
    ]


def test_what_is_left_out_has_its_documented_default() -> None:
    (step,) = of_steps(call("a")).steps

    assert isinstance(step, Call)
    assert step.input == EMPTY
    assert step.timeouts.start_to_close == 0.0
    assert step.retry == RetryRule(max_attempts=3, initial=0.2, coefficient=2.0, max_interval=10.0)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = violations(
        """\
nmae: x
steps:
  - id: Read
    call: {plugin: p, operatoin: o}
  - id: if
    parallel: {branches: {}}
  - id: a
    switch: []
    retry: {}
timeout: soon
"""
    )

    assert [line.partition(":")[0] for line in found] == [
        "name",
        "timeout",
        "steps[0].id",
        "steps[0].call.operation",
        "steps[0].call.operatoin",
        "steps[1].id",
        "steps[1].parallel.branches",
        "steps[2].switch",
        "steps[2].retry",
        "nmae",
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [("tiemouts", "timeouts"), ("inputs", "input"), ("Retry", "retry")],
)
def test_an_unknown_key_is_refused_with_what_was_meant(key: str, meant: str) -> None:
    assert f"unknown key, did you mean {meant!r}?" in one(violations_of(call("a", **{key: {}})))


def test_an_unknown_key_that_resembles_nothing_is_refused_with_what_is_known() -> None:
    message = one(violations_of({"id": "a", "call": {**CALL, "zzz": 1}}))

    assert message.endswith("unknown key; known: interface, operation, plugin, select")


@pytest.mark.parametrize(
    "step",
    [
        {"id": "a"},
        {"id": "a", "call": CALL, "switch": [otherwise(call("b"))]},
        {"id": "a", "call": None},
        {"id": "a", "parallel": None},
        {"id": "a", "switch": None},
        {"id": "a", "call": [], "input": {}},
        {"id": "a", "parallel": {"branches": None}},
        {"id": "a", "parallel": {"branches": {"b": None}}},
        {"id": "a", "parallel": {"branches": {"b": []}}},
        {"id": "a", "parallel": {"branches": {"b": [call("c")]}, "join": "some"}},
        {"id": "a", "switch": [{}]},
        {"id": "a", "switch": [{"when": "true"}]},
        {"id": "a", "switch": [{"when": "true", "steps": []}]},
        {"id": "a", "switch": [{"when": "", "steps": [call("b")]}]},
        {"id": "a", "switch": [{"otherwise": []}]},
        {"id": "a", "switch": ["x"]},
        {"id": "a", "switch": [otherwise(call("b")), case("true", call("c"))]},
        {"id": "a", "switch": [{**case("true", call("b")), "name": "x"}, {**case("true", call("b")), "name": "x"}]},
        {"id": "a", "switch": [{**case("true", call("b")), "name": "otherwise"}, otherwise(call("b"))]},
        {"id": "a", "switch": [otherwise(call("b"))], "no_match": "maybe"},
        {"call": CALL},
        {"id": None, "call": CALL},
        {"id": "", "call": CALL},
        {"id": 7, "call": CALL},
        {"id": "a", "call": {"plugin": "", "operation": "o"}},
        {"id": "a", "call": {"plugin": "@^1", "operation": "o"}},
        {"id": "a", "call": {"plugin": "p", "operation": ""}},
        {"id": "a", "call": {"plugin": "p@latest", "operation": "o"}},
        {"id": "a", "call": {"plugin": 3, "operation": "o"}},
        {"id": "a", "call": {"plugin": "p"}},
        "a",
        None,
        [],
    ],
)
def test_a_broken_step_is_refused(step: object) -> None:
    assert violations_of(step)


@pytest.mark.parametrize("step_id", ["A", "1a", "a-b", "a.b", "a b", "é", "a" * 65, "true", "null", "in", "loop"])
def test_an_id_is_an_identifier_that_expressions_can_name(step_id: str) -> None:
    assert "is not an identifier" in one(violations_of(call(step_id)))
    assert "is not an identifier" in one(violations_of(parallel("a", **{step_id: [call("b")]})))


def test_ids_of_one_sequence_differ() -> None:
    assert "two steps have the id 'a'" in one(violations_of(call("a"), call("b"), call("a")))


def test_ids_inside_a_group_are_their_own() -> None:
    definition = of_steps(
        parallel("g", one=[call("x"), call("y", input="${steps.x.output}")], two=[call("x")]),
        call("x", input="${steps.g.output}"),
    )

    assert [path for path, _ in definition.calls()] == ["g/one/x", "g/one/y", "g/two/x", "x"]


@pytest.mark.parametrize(
    "steps",
    [
        [parallel("g", one=[call("x")], two=[call("y", input="${steps.x.output}")])],
        [parallel("g", one=[call("x")]), call("y", input="${steps.x.output}")],
        [parallel("g", one=[call("x", input="${steps.g.output}")])],
        [switch("g", case("steps.x.output", call("x")))],
        [call("a", input="${steps.b.output}"), call("b")],
        [call("a", input={"deep": ["${1 + steps.b.output.n}"]}), call("b")],
    ],
)
def test_a_step_sees_only_what_ended_before_it(steps: list[object]) -> None:
    messages = violations_of(*steps)

    assert any("undeclared reference to 'steps." in message for message in messages), messages


def test_steps_that_wait_for_one_another_are_named_in_a_circle() -> None:
    messages = violations_of(
        call("a", input="${steps.c.output}"),
        call("b", input="${steps.a.output + 1}"),
        switch("c", case("steps.b.output == 'steps.z'", call("d"))),
    )

    assert "steps[0]: line 1, column 25: the steps wait for one another in a cycle: a -> c -> b -> a" in messages


def test_a_step_that_waits_for_itself_is_a_circle() -> None:
    messages = violations_of(call("a", input="${steps.a.output}"))

    assert any("in a cycle: a -> a" in message for message in messages)


def test_text_that_only_looks_like_a_reference_is_none() -> None:
    text = "steps.b.output"

    assert not violations_of(
        call("a", input={"when": text, "plain": text, "quoted": f"${{'{text}'}}", "escaped": f"$${{{text}}}"}),
        call("b", input="${steps.a.output}"),
    )


@pytest.mark.parametrize(
    "duration", ["0s", "0.0000000001s", "-1s", "1", 1, "1 s", "1w", "1s1m", "367d", "", True, "٣s", "9" * 400 + "d"]
)
def test_a_duration_has_a_unit_and_bounds(duration: object) -> None:
    assert "is not a duration" in one(violations_of(call("a"), timeout=duration))


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("366d", 366 * 86400.0)]
)
def test_durations_are_read_in_their_units(text: str, seconds: float) -> None:
    assert of_steps(call("a"), timeout=text).timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "retry",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"max_attempts": 2.0},
        {"max_attempts": True},
        {"coefficient": 0.5},
        {"coefficient": 101},
        {"coefficient": "2"},
        {"initial": "0ms"},
        {"max_interval": 5},
        {"non_retryable": "BAD"},
        {"non_retryable": [7]},
        {"jitter": 1},
    ],
)
def test_a_retry_rule_has_bounds(retry: dict[str, object]) -> None:
    assert len(violations_of(call("a", retry=retry))) == 1


@pytest.mark.parametrize("key", ["retry", "timeouts", "input"])
def test_only_calls_have_what_belongs_to_calls(key: str) -> None:
    assert "unknown key" in one(violations_of({**parallel("g", b=[call("a")]), key: {}}))


@pytest.mark.parametrize("more", [{"name": ""}, {"name": "a b"}, {"name": "-a"}, {"name": "a" * 201}, {"name": 1}])
def test_a_name_is_one_word(more: dict[str, object]) -> None:
    assert violations_of(call("a"), **more)


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", 1.0, "1.0.0+a b", "latest"])
def test_a_version_is_semantic(version: object) -> None:
    assert len(violations_of(call("a"), version=version)) == 1


@pytest.mark.parametrize("declared", ["text", "string??", 1, None, "?"])
def test_a_declared_input_has_a_json_type(declared: object) -> None:
    assert violations_of(call("a"), input={"x": declared})


@pytest.mark.parametrize(
    "document", ["", "[]", "a", "null", "- a", "{}", '{"steps": {}}', '{"name": "w", "steps": []}']
)
def test_what_is_no_definition_is_refused(document: str) -> None:
    assert violations(document)


def test_there_are_at_most_a_thousand_steps() -> None:
    steps = [call(f"s{number}") for number in range(998)]
    groups = parallel("g", b=[call("x")])

    assert not violations_of(*steps, groups)
    assert one(violations_of(*steps, groups, call("too_many"))).endswith("there are more than 1000 steps")
    assert one(violations_of(*steps, groups, *[{"id": "x"}] * 500)).endswith("there are more than 1000 steps")


def nested(depth: int) -> dict[str, object]:
    step = call("a")
    for _ in range(depth - 1):
        step = parallel("a", b=[step])
    return step


def test_groups_nest_fifty_deep() -> None:
    assert not violations_of(nested(50))
    assert "groups are nested deeper than 50" in one(violations_of(nested(51)))


def test_a_thousand_steps_with_expressions_are_checked_in_moments() -> None:
    steps = [call("s0")]
    steps += [call(f"s{n}", input={"n": f"${{steps.s{n - 1}.output.n + {n}}}"}) for n in range(1, 1000)]
    assert not violations_of(*steps)


def test_a_circle_of_a_thousand_steps_is_found_in_moments() -> None:
    steps = [call(f"s{n}", input=f"${{steps.s{(n + 1) % 1000}.output}}") for n in range(1000)]
    messages = violations_of(*steps)

    assert "s998 -> s999 -> s0" in messages[0]


LAYOUTS = [
    """\
name: w
version: 1.0.0
steps:
  - id: a
    call: {plugin: p, operation: o}
    input: {x: 1, y: [true, null]}
""",
    """\
# a comment
version: "1.0.0"
name: 'w'
steps: [{input: {y: [true, ~], x: 1}, call: {operation: o, plugin: p}, id: a}]""",
    json.dumps(
        {
            "steps": [{"call": CALL, "id": "a", "input": {"x": 1, "y": [True, None]}}],
            "version": "1.0.0",
            "name": "w",
        },
        indent="\t",
    ),
]


def test_layout_comments_and_the_order_of_keys_do_not_change_the_content_hash() -> None:
    assert len({parsed(layout).content_hash for layout in LAYOUTS}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"x": 2, "y": [True, None]},
        {"x": 1, "y": [None, True]},
        {"x": "1", "y": [True, None]},
        {"x": 1.0, "y": [True, None]},
        {"x": 1},
    ],
)
def test_another_value_changes_the_content_hash(other: dict[str, Any]) -> None:
    assert of_steps(call("a", input=other)).content_hash != parsed(LAYOUTS[0]).content_hash


def test_without_a_version_the_content_is_the_version() -> None:
    first = parsed("name: w\nsteps: [{id: a, call: {plugin: p, operation: o}}]")
    same = parsed("steps:\n- call: {operation: o, plugin: p}\n  id: a\nname: w")
    other = parsed("name: w\nsteps: [{id: b, call: {plugin: p, operation: o}}]")

    assert first.version == f"0.0.0+{first.content_hash[:12]}" == same.version
    assert other.version != first.version
