"""What an expression may take is known before it begins: nothing that has begun can be stopped."""

import json
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from forgemesh.faults.workflow import ExpressionError, PayloadTooLarge
from forgemesh.orchestrator.values.payload import MAX_INPUT, Payload
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.expressions.cel_cost import Cost, cost_at, cost_of
from forgemesh.orchestrator.workflow.expressions.cel_syntax import tree_of
from forgemesh.orchestrator.workflow.expressions.expression import MAX_COST, MAX_TOGETHER, Allowance, ExpressionMistake
from forgemesh.orchestrator.workflow.expressions.template import TemplateCompiler, evaluate

VARIABLES = ("input", "execution", "steps.a.output")

NUMBERS = list(range(30_000))
TEXT = "a" * 200_000

BOMBS: dict[str, tuple[str, object]] = {
    "a list is searched for each of another one": (
        "input.l.exists(x, x in input.m)",
        {"l": [-1] * 8_000, "m": NUMBERS},
    ),
    "the same by all": ("input.l.all(x, !(x in input.m))", {"l": [-1] * 8_000, "m": NUMBERS}),
    "the same by exists_one": ("input.l.exists_one(x, x in input.m)", {"l": [-1] * 8_000, "m": NUMBERS}),
    "the same under other names": (
        "cel.bind(m, input.m, input.l.exists(x, x in m))",
        {"l": [-1] * 8_000, "m": NUMBERS},
    ),
    "lists are compared again and again": (
        "input.l.exists(x, input.m == input.n)",
        {"l": [0] * 1_000, "m": NUMBERS, "n": NUMBERS},
    ),
    "a long text is looked for in a long one": ("input.s.contains(input.t)", {"s": TEXT, "t": "a" * 100_000 + "b"}),
    "the same by indexOf": ("input.s.indexOf(input.t) > 0", {"s": TEXT, "t": "a" * 100_000 + "b"}),
    "the same by lastIndexOf": ("input.s.lastIndexOf(input.t) > 0", {"s": TEXT, "t": "a" * 100_000 + "b"}),
    "a text is scanned for each item": ("input.l.exists(x, input.s.contains(x))", {"l": ["zq"] * 5_000, "s": TEXT}),
    "a text is scanned for each key": (
        "input.o.exists(k, input.s.contains(k))",
        {"o": {f"k{number}": 1 for number in range(5_000)}, "s": TEXT},
    ),
    "a pattern repeats repetitions": ("input.s.matches('(a{0,500}){0,2}b')", {"s": "a" * 20_000}),
    "a pattern is read from what is given": ("input.s.matches(input.p)", {"s": TEXT, "p": "(a{0,500}){0,2}b"}),
    "a pattern is read for each item": (
        "input.l.exists(p, input.s.matches(p))",
        {"l": ["(a{0,900})b"] * 500, "s": "a" * 1_000},
    ),
    "a text is split for each item": ("input.l.exists(x, input.s.split('').size() == x)", {"l": [0] * 500, "s": TEXT}),
    "a text is replaced for each item": (
        "input.l.exists(x, input.s.replace('a', 'b') == x)",
        {"l": ["x"] * 500, "s": TEXT},
    ),
    "a list is joined for each item": (
        "input.l.exists(x, input.m.join('') == x)",
        {"l": [""] * 500, "m": ["a"] * 20_000},
    ),
    "texts are put together for each item": (
        "input.l.exists(x, (input.s + x).size() == 0)",
        {"l": ["x"] * 5_000, "s": TEXT},
    ),
    "loops turn in loops": (
        "input.l.all(a, input.l.all(b, input.l.all(c, input.l.all(d, a + b + c + d >= 0))))",
        {"l": list(range(60))},
    ),
    "the greatest is looked for for each item": (
        "input.l.exists(x, math.greatest(input.m) == x)",
        {"l": [-1] * 8_000, "m": NUMBERS},
    ),
    "the same by least": ("input.l.all(x, math.least(input.m) != x)", {"l": [-1] * 8_000, "m": NUMBERS}),
    "a large value is kept for each item": ("input.l.map(x, input.s).size()", {"l": [0] * 500, "s": TEXT}),
}


def cost(source: str, given: object) -> Cost:
    program = CelCompiler().compile(source, VARIABLES)
    return cost_of(program.tree, {"input": given})


@pytest.mark.parametrize("name", BOMBS)
def test_what_may_take_too_long_or_make_too_much_is_refused_before_it_begins(name: str) -> None:
    source, given = BOMBS[name]

    with pytest.raises(ExpressionError, match="let a plugin do this"):
        CelCompiler().compile(source, VARIABLES).evaluate({"input": given})


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("input.n > 3 && input.s.startsWith('a')", {"n": 4, "s": TEXT}),
        ("input.l.exists(x, x.sku == 'b')", {"l": [{"sku": "a", "count": 3}] * 2_000}),
        ("input.l.all(x, x.sku in input.known)", {"l": [{"sku": "a"}] * 100, "known": ["a"] * 2_000}),
        ("input.l.all(x, x in {'a': 1, 'b': 2})", {"l": ["a"] * 5_000}),
        ("input.l.map(x, x.count * 2).size() == 500", {"l": [{"count": 3}] * 500}),
        ("input.l.filter(x, x.count > 2).map(x, x.count)", {"l": [{"count": 3}] * 200}),
        ("input.l.all(x, input.l.exists_one(y, y == x))", {"l": list(range(90))}),
        ("input.s.contains('needle') || input.s.endsWith('a')", {"s": TEXT}),
        ("input.s.matches('^[a-z0-9._%+-]+@[a-z0-9.-]+[.][a-z]{2,}$')", {"s": "somebody@example.org"}),
        ("input.s.split(',').map(x, x.trim())", {"s": "a, b, c"}),
        ("math.greatest(input.l) > 2 && math.least(input.n, 3) == 3", {"l": list(range(1_000)), "n": 4}),
        ("input.l.join(', ')", {"l": ["a" * 20] * 1_000}),
        ("input.m == input.n", {"m": list(range(10_000)), "n": list(range(10_000))}),
        ("'%s has %d of %s'.format([input.a, input.n, input.b])", {"a": "x" * 100, "n": 3, "b": "y"}),
    ],
)
def test_what_people_write_is_allowed(source: str, given: object) -> None:
    CelCompiler().compile(source, VARIABLES).evaluate({"input": given})


def test_a_bound_for_every_value_of_a_size_is_no_less_than_that_for_one_of_them() -> None:
    for source, given in BOMBS.values():
        tree = CelCompiler().compile(source, VARIABLES).tree
        size = len(json.dumps(given))

        one, every = cost_of(tree, {"input": given}), cost_at(tree, ("input",), size)

        assert one.time <= every.time
        assert one.most <= every.most


def test_a_larger_value_costs_no_less() -> None:
    for source, _ in BOMBS.values():
        tree = CelCompiler().compile(source, VARIABLES).tree
        bounds = [cost_at(tree, ("input",), 4**size).time for size in range(4, 10)]

        assert bounds == sorted(bounds)


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called meanwhile."""
    calls = 0

    def seen(frame: object, event: str, given: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("macro", ["exists", "all", "exists_one"])
def test_a_loop_in_a_loop_is_not_read_again_for_each_of_those_around_it(macro: str) -> None:
    def steps(depth: int) -> int:
        tree = CelCompiler().compile(f"[1].{macro}(x, " * depth + "true" + ")" * depth, VARIABLES).tree
        return calls_of(lambda: cost_at(tree, ("input",), 1_000))

    short, middle, long = steps(5), steps(10), steps(20)
    assert middle < 5 * short
    assert long < 5 * middle


def test_loops_that_are_nested_too_deep_are_a_mistake() -> None:
    with pytest.raises(ExpressionMistake, match="nested too deep"):
        CelCompiler().compile("[1].exists(x, " * 30 + "true" + ")" * 30, VARIABLES)


def test_every_kind_of_node_is_read() -> None:
    source = "{'a': [input.x, 1.5, b'x'], input.k: has(input.y) ? input.l[0] : cel.bind(v, input.z, v + v)}"

    assert cost(source, {"x": 1, "k": "k", "l": [1], "z": "z"}).time > 0
    assert tree_of(CelCompiler().compile("true", ())._expression.serialize()).HasField("constant")


def test_the_expressions_of_one_template_are_counted_together() -> None:
    given = {"l": [-1] * 100, "m": list(range(3_000))}
    once = cost("input.l.exists(x, x in input.m)", given).time
    assert once < MAX_COST
    enough = int(MAX_TOGETHER / once)

    assert len(json.loads(template(["${input.l.exists(x, x in input.m)}"] * enough, given).data)) == enough
    with pytest.raises(ExpressionError, match="with those before it"):
        template(["${input.l.exists(x, x in input.m)}"] * (enough + 1), given)


@pytest.mark.parametrize(
    "tree",
    [
        "a" + "${input.s}" * 200,
        ["${input.s}"] * 200,
        {f"k{number}": "${input.s}" for number in range(200)},
        ["${input}"] * 200,
        [{"x": ["${input.o}"]}] * 200,
        ["${steps.a.output}"] * 200,
    ],
)
def test_what_a_template_puts_together_is_counted_before_it_is_copied(tree: object) -> None:
    large = "x" * 3_000_000
    tracemalloc.start()
    with pytest.raises(PayloadTooLarge, match="a template puts together"):
        template(tree, {"s": large, "o": {"inner": large}}, steps_a_output=large)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 10 * MAX_INPUT


def test_an_allowance_is_spent_to_its_last_byte() -> None:
    allowance = Allowance(size=10)
    allowance.spend_size(10)

    with pytest.raises(PayloadTooLarge):
        allowance.spend_size(1)


def template(tree: object, given: object, steps_a_output: object = None) -> Payload:
    compiler = TemplateCompiler(CelCompiler(), VARIABLES)
    compiled = compiler.compile(tree)
    assert not compiler.mistakes
    known = {"input": given, "steps.a.output": steps_a_output}
    payloads = {name: Payload(json.dumps(value).encode()) for name, value in known.items()}
    return evaluate(compiled, payloads.__getitem__)
