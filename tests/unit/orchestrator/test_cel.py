import json
import subprocess
import sys

import pytest

from forgemesh.faults.workflow import ExpressionError
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler, CelProgram
from forgemesh.orchestrator.workflow.expressions.expression import ExpressionMistake

VARIABLES = ("input", "execution", "steps.a.output", "steps.a.status", "steps.b.output", "steps.b.status")


def value_of(source: str, **bindings: object) -> object:
    return CelCompiler().compile(source, VARIABLES).evaluate(bindings)


def failure(source: str, **bindings: object) -> str:
    with pytest.raises(ExpressionError) as error:
        value_of(source, **bindings)
    return error.value.metadata["cause"]


def mistake(source: str) -> tuple[int, int, str]:
    with pytest.raises(ExpressionMistake) as error:
        CelCompiler().compile(source, VARIABLES)
    return error.value.line, error.value.column, error.value.message


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("1 / 0", "divide by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775807 - 2", "integer overflow"),
        ("input.absent", 'Key not found in map : "absent"'),
        ("input.n.x", "Applying SELECT to non-message type"),
        ("[1][1]", "Index error: index=1 size=1"),
        ("'a' + input.n", "No matching overloads found : _+_(string, int64)"),
        ("input.f + 1", "No matching overloads found : _+_(double, int64)"),
        ("int('x')", "cannot convert string to int"),
        ("input.n ? 1 : 2", "No matching overloads found"),
    ],
)
def test_an_evaluation_error_is_raised_and_never_a_value(source: str, cause: str) -> None:
    assert cause in failure(source, input={"n": 1, "f": 2.0})


def test_mixed_arithmetic_of_literals_is_refused_when_it_is_compiled() -> None:
    assert mistake("2.0 + 1") == (1, 5, "found no matching overload for '_+_' applied to '(double, int)'")


def test_or_and_and_absorb_errors_as_the_language_says() -> None:
    assert value_of("input.absent || true", input={}) is True
    assert value_of("input.absent && false", input={}) is False


def test_has_asks_without_failing() -> None:
    assert value_of("has(input.a)", input={"a": None}) is True
    assert value_of("has(input.b)", input={"a": 1}) is False
    assert "Key not found" in failure("has(input.b.c)", input={"a": 1})


def test_the_keys_of_an_object_are_in_order() -> None:
    found = value_of("{'z': 1, 'a': {'y': 1, 'b': 2}, 'm': [input]}", input={"k": 1, "c": 2})

    assert json.dumps(found) == '{"a": {"b": 2, "y": 1}, "m": [{"c": 2, "k": 1}], "z": 1}'


def test_the_order_of_keys_is_the_same_in_every_process() -> None:
    program = (
        "from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler\n"
        "print(list(CelCompiler().compile(\"{'c': 1, 'a': 2, 'd': 3, 'b': 4, 'e': 5}\", ()).evaluate({})))"
    )

    orders = {subprocess.check_output([sys.executable, "-c", program], timeout=30) for _ in range(2)}

    assert orders == {b"['a', 'b', 'c', 'd', 'e']\n"}


@pytest.mark.parametrize(
    "source", ["b'abc'", "timestamp('2026-01-01T00:00:00Z')", "duration('1s')", "type(1)", "[b'a']", "{'a': b'b'}"]
)
def test_what_json_cannot_say_is_refused(source: str) -> None:
    assert "which JSON cannot say" in failure(source)


@pytest.mark.parametrize("source", ["1.0 / 0.0", "-1.0 / 0.0", "0.0 / 0.0", "[1.0 / 0.0]", "double('NaN')"])
def test_numbers_that_are_not_finite_are_refused(source: str) -> None:
    assert "which JSON cannot say" in failure(source)


def test_an_optional_value_must_be_taken_out() -> None:
    assert "end an optional one with `.orValue(...)`" in failure("input.?a", input={})
    assert value_of("input.?a.orValue(0)", input={}) == 0


def test_map_and_filter_run_over_at_most_500_items() -> None:
    assert value_of("input.map(x, x + 1).size()", input=list(range(500))) == 500
    assert value_of("input.all(x, x >= 0)", input=list(range(5000))) is True
    for source in ("input.map(x, x)", "input . filter (x, true)", "steps.a.output.l.map(x, x)"):
        long = list(range(501))
        assert "at most 500 items" in failure(source, **{"input": long, "steps.a.output": {"l": long}})


def test_a_text_is_not_split_into_more_than_map_may_run_over() -> None:
    assert value_of("input.split(',').map(x, int(x))", input="1,2,3") == [1, 2, 3]
    assert "at most 500 items" in failure("input.split(',').map(x, x)", input=",".join("1" * 9000))


def test_integers_beyond_64_bits_fail_cleanly() -> None:
    assert "out of range" in failure("input + 1", input=2**70)
    assert "out of range" in failure("input == 1", input=-(2**70))


def test_texts_are_counted_in_characters() -> None:
    assert value_of("size('héllo 😀')") == 7


@pytest.mark.parametrize(
    ("source", "line", "column", "message"),
    [
        ("nope", 1, 1, "undeclared reference to 'nope'; known: execution, input, steps"),
        ("input.x + nope", 1, 11, "undeclared reference to 'nope'"),
        ("'é😀' + nope", 1, 8, "undeclared reference to 'nope'"),
        ("1 +\n  nope", 2, 3, "undeclared reference to 'nope'"),
        ("now()", 1, 1, "undeclared reference to 'now'"),
        ("input.f()", 1, 7, "undeclared reference to 'f'"),
        ("1 + steps.z.output", 1, 5, "undeclared reference to 'steps.z.output'; steps that have ended here: a, b"),
        ("1 +\n steps . z . output", 2, 2, "undeclared reference to 'steps.z.output'"),
        ("steps.a.result", 1, 1, "of a step, read steps.a.output, steps.a.status or steps.a.error"),
        ("steps.a", 1, 1, "of a step, read steps.a.output, steps.a.status or steps.a.error"),
        ("size(steps)", 1, 6, "undeclared reference to 'steps'; steps that have ended here: a, b"),
        ("steps['a'].output", 1, 1, "undeclared reference to 'steps'"),
        ("1 +", 1, 4, "Syntax error: mismatched input '<EOF>'"),
        ("'a", 1, 1, "Syntax error: token recognition error at: ''a'"),
        ("a b", 1, 3, "Syntax error: extraneous input 'b'"),
        ("", 1, 1, "the expression is empty"),
        (" \n", 1, 1, "the expression is empty"),
        ("x" * 5000, 1, 1, "the expression has 5000 bytes, at most 4096 are allowed"),
        ("x" * 4000, 1, 1, "undeclared reference to 'xxx"),
    ],
)
def test_a_mistake_is_found_with_its_place(source: str, line: int, column: int, message: str) -> None:
    found = mistake(source)

    assert found[:2] == (line, column)
    assert found[2].startswith(message)
    assert len(found[2]) < 250


def test_steps_may_be_named_in_texts_and_as_keys() -> None:
    assert value_of("'steps.z.output'") == "steps.z.output"
    assert value_of("input.steps.z", input={"steps": {"z": 1}}) == 1
    assert value_of("r'\\d' + steps.a.output.x", **{"steps.a.output": {"x": "y"}}) == "\\dy"


def test_output_and_status_of_several_steps_are_kept_apart() -> None:
    bindings = {"steps.a.output": {"n": 1}, "steps.b.output": {"n": 2}, "steps.b.status": "SKIPPED"}

    assert value_of("steps.a.output.n + steps.b.output.n", **bindings) == 3
    assert value_of("steps.b.status", **bindings) == "SKIPPED"


HOSTILE = [
    "(" * 2000 + "1" + ")" * 2000,
    "[" * 2000 + "]" * 2000,
    "{1:" * 1000 + "1" + "}" * 1000,
    "+".join(["1"] * 33),
    "+".join(["1"] * 2000),
    "input" + ".b" * 2000,
    "true ? 1 : " * 350 + "2",
    "f(" * 1300 + "1" + ")" * 1300,
    "input.map(x," * 300 + "1" + ")" * 300,
    "'" * 4095,
    "\\" * 4096,
    "\x00" * 100,
    "((((((((((((((((((((((((((((((((",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_the_most_crooked_expression_is_refused_at_once(source: str) -> None:
    line, column, message = mistake(source)

    assert line >= 1
    assert column >= 1
    assert "recursion" in message or "Syntax error" in message


@pytest.mark.parametrize(
    "source", ["+".join(["1"] * 32), "!" * 4000 + "true", "-" * 4000 + "1", "&&".join(["true"] * 580)]
)
def test_long_expressions_within_the_limits_are_fine(source: str) -> None:
    value_of(source)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_deep_values_are_passed_or_refused_and_never_fatal() -> None:
    assert value_of("input", input=nested(250)) == nested(250)
    assert "nested deeper than 250" in failure("input", input=nested(251))
    assert "nested deeper than 250" in failure("[input]", input=nested(250))
    assert "nested deeper than 250" in failure("input", input=nested(950))
    assert value_of("input == input", input=nested(250)) is True


def test_variables_and_steps_are_bound_each_by_its_own_name() -> None:
    names = ("vars.n", "item", "steps.a.error")
    program = CelCompiler().compile("vars.n + item + size(steps.a.error.code)", names)

    assert program.evaluate({"vars.n": 1, "item": 2, "steps.a.error": {"code": "abc"}}) == 6


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("item", "undeclared reference to 'item'; `item` is the item of a map, and can be used in the steps of one"),
        ("item.x", "undeclared reference to 'item.x'; `item` is the item of a map"),
        ("index + 1", "undeclared reference to 'index'; `index` is the index in a map"),
        ("error.code", "undeclared reference to 'error.code'; `error` is why a step is undone"),
        ("vars.n", "undeclared reference to 'vars.n'; `vars` declares none here"),
        ("vars['n']", "undeclared reference to 'vars'; `vars` declares none here"),
    ],
)
def test_a_name_that_is_not_visible_here_is_refused_with_where_it_is(source: str, message: str) -> None:
    assert mistake(source)[2].startswith(message)


def test_a_value_that_does_not_fit_into_memory_is_an_evaluation_error() -> None:
    class Exhausted:
        def eval(self, data: object) -> object:
            raise MemoryError("std::bad_alloc")

        def serialize(self) -> bytes:
            return b""

    with pytest.raises(ExpressionError, match="does not fit into memory"):
        CelProgram("input + input", Exhausted()).evaluate({})


@pytest.mark.parametrize(
    "source",
    [
        "'aaaa'" + ".replace('', 'aaaa')" * 15,
        "'aaaa'.replace('', input.a).replace('', input.b)",
        "'a'.replace('a', 'aa').replace(input.x, '') + '.replace(\"a\", \"\")'",
        "input.l.map(a, input.t.replace('', a))",
        "[1]" + ".map(a, [a, a, a, a])" * 4,
        "[1]" + f".map(a, [{', '.join('a' * 100)}])" * 2,
        "cel.bind(a, [1, 1], cel.bind(b, [a, a], cel.bind(c, [b, b], cel.bind(d, [c, c], d))))",
    ],
)
def test_an_expression_whose_value_may_get_any_size_is_refused(source: str) -> None:
    assert mistake(source)[:2] == (1, 1)


def test_texts_are_cleaned_as_often_as_one_likes() -> None:
    source = "input.t.replace(' ', '-').replace('_', '-').replace(\"--\", '-').replace('a', '').replace('  ', ' ')"
    assert value_of(source, input={"t": "a b_c"}) == "-b-c"
    assert value_of(source, input={"t": "b" * 10_000}) == "b" * 10_000


def test_a_text_that_gets_longer_must_be_short() -> None:
    source = "input.t.replace('a', 'aa')"
    assert value_of(source, input={"t": "a" * 2000}) == "a" * 4000
    assert "at most 2000 characters" in failure(source, input={"t": "a" * 2001})
