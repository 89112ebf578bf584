import math
from collections.abc import Callable

import pytest

from forgemesh.client.expression import Expression, Path, cel, has, literal, size, source_of, template
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler

INPUT, TOTAL = Path("input"), Path("steps.a.output.total")
VARIABLES = ("input", "steps.a.output")


@pytest.mark.parametrize(
    ("expression", "source"),
    [
        (INPUT.order.lines[0].id, "input.order.lines[0].id"),
        (INPUT["with-dash"]["in"].x, 'input["with-dash"]["in"].x'),
        (INPUT[INPUT.key], "input[input.key]"),
        (TOTAL > 100, "steps.a.output.total > 100"),
        (TOTAL != None, "steps.a.output.total != null"),  # noqa: E711 - it is no comparison yet
        ((INPUT.n > 1) & ~(INPUT.x == 2) | has(INPUT.y), "((input.n > 1) && !(input.x == 2)) || has(input.y)"),
        (1 + INPUT.n * 2 - -INPUT.m, "(1 + (input.n * 2)) - -input.m"),
        (100 / INPUT.n % 7, "(100 / input.n) % 7"),
        (2 * INPUT.n, "2 * input.n"),
        (2.0 - INPUT.n / 3.0, "2.0 - (input.n / 3.0)"),
        (size(INPUT.days) >= 5, "size(input.days) >= 5"),
        (INPUT.name.startsWith("A"), 'input.name.startsWith("A")'),
        (INPUT.tags == ("x", {"a": [True, None]}), 'input.tags == ["x", {"a": [true, null]}]'),
        (cel("1 + 1") * 2, "(1 + 1) * 2"),
        (INPUT.text == 'a "quote"\n\x7fé😀', 'input.text == "a \\"quote\\"\\n\x7fé😀"'),
    ],
)  # fmt: skip
def test_python_says_what_cel_says(expression: Expression, source: str) -> None:
    assert source_of(expression) == source
    CelCompiler().compile(source, VARIABLES)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ((INPUT.n + 1) * 2, 8),
        (2 * INPUT.n + 1, 7),
        ((INPUT.n == 3) & ~(INPUT.n > 5), True),
        (INPUT.s + ' "b"', 'a "b"'),
        (10 - (INPUT.n - 1), 8),
        (INPUT.list[INPUT.n - 3], "first"),
    ],
)
def test_parentheses_stand_where_python_had_them(expression: Expression, value: object) -> None:
    bindings = {"input": {"n": 3, "s": "a", "list": ["first"]}}

    assert CelCompiler().compile(source_of(expression), VARIABLES).evaluate(bindings) == value


def test_an_expression_in_a_text_becomes_a_part_of_it() -> None:
    assert template(f"order {INPUT.id} of {TOTAL + 1}") == "order ${input.id} of ${steps.a.output.total + 1}"
    assert template({"a": (INPUT.x, 1), "b": literal("${x}")}) == {"a": ["${input.x}", 1], "b": "$${x}"}


@pytest.mark.parametrize("value", [object(), {1}, b"x", {1: 2}, math.nan, [math.inf], {"a": {"b": b"x"}}])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot"):
        template(value)


@pytest.mark.parametrize(
    "use",
    [bool, list, lambda path: path and 1, lambda path: 1 in path, lambda path: f"{path:>5}", lambda path: path + b"x"],
)
def test_what_can_only_be_known_later_is_not_known_now(use: Callable[[Path], object]) -> None:
    with pytest.raises(TypeError):
        use(INPUT.x)


def test_expressions_can_be_kept_and_shown() -> None:
    assert {TOTAL: 1}[TOTAL] == 1
    assert repr(TOTAL) == "<steps.a.output.total>"
    assert not hasattr(INPUT, "__deepcopy__")
