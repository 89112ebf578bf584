import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, strategies as st

from forgemesh.faults.workflow import ExpressionError
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.expressions.reading import MAX_LOOKED_INTO, Reference
from forgemesh.orchestrator.workflow.expressions.template import (
    Template,
    TemplateCompiler,
    TemplateMistake,
    compile_expression,
    evaluate,
    evaluate_condition,
)
from tests.unit.orchestrator.workflows import call, violations, violations_of

VARIABLES = ("input", "execution", "steps.a.output", "steps.a.status")


def compiled(tree: object) -> Template:
    compiler = TemplateCompiler(CelCompiler(), VARIABLES)
    template = compiler.compile(tree)
    assert not compiler.mistakes
    return template


def mistakes(tree: object) -> list[TemplateMistake]:
    compiler = TemplateCompiler(CelCompiler(), VARIABLES)
    compiler.compile(tree)
    return compiler.mistakes


def payload(value: object) -> Payload:
    return value if isinstance(value, Payload) else Payload(json.dumps(value).encode())


def evaluated(tree: object, **values: object) -> Payload:
    """`values` by variable, with `a_output` and `a_status` for those of the step."""
    known = {name.replace("_", ".") if name in ("input", "execution") else f"steps.{name.replace('_', '.')}": value
             for name, value in values.items()}  # fmt: skip
    return evaluate(compiled(tree), lambda variable: payload(known[variable]))


def value_of(tree: object, **values: object) -> object:
    return json.loads(evaluated(tree, **values).data)


def failure(tree: object, **values: object) -> str:
    with pytest.raises(ExpressionError) as error:
        evaluated(tree, **values)
    return error.value.message


def test_a_whole_payload_is_passed_on_untouched() -> None:
    given_bytes = Payload(b' {"b": 1.0,\t"a":1e2, "a": 12345678901234567890123} ', "application/json", {"k": "v"})

    assert evaluated("${steps.a.output}", a_output=given_bytes) is given_bytes


def test_an_opaque_payload_is_passed_on_whole() -> None:
    image = Payload(b"\x89PNG\xff", "image/png")

    assert evaluated("${input}", input=image) is image


@pytest.mark.parametrize(
    "tree", [{"x": "${input}"}, ["${input}"], "${input.x}", "${size(input)}", "a ${input}", "${input.x} b"]
)
def test_an_opaque_payload_can_neither_be_looked_into_nor_put_into_another(tree: object) -> None:
    assert "image/png" in failure(tree, input=Payload(b"\x89PNG\xff", "image/png"))


def test_a_whole_payload_inside_another_keeps_its_bytes() -> None:
    found = evaluated({"x": "${input}", "y": ["${input}"]}, input=Payload(b'{"b":1.0,"a":1E2}'))

    assert found.data == b'{"x":{"b":1.0,"a":1E2},"y":[{"b":1.0,"a":1E2}]}'


@pytest.mark.parametrize("broken", [b'1, "x": 2', b'{"a":', b'"\xff"', b"[1,]", b"{} {}", b"\xff", b"[" * 100_000])
def test_a_payload_that_is_no_json_cannot_slip_into_another(broken: bytes) -> None:
    assert "not valid JSON" in failure({"x": "${input}"}, input=Payload(broken))
    assert "cannot evaluate `input" in failure("${input.x}", input=Payload(broken))


def test_an_empty_payload_is_null() -> None:
    assert evaluated({"x": "${input}"}, input=Payload(b"")).data == b'{"x":null}'


@given(st.integers())
def test_integers_of_any_size_stay_exact_on_plain_paths(number: int) -> None:
    document = {"n": number, "deep": {"n": [number]}}

    assert evaluated("${input.n}", input=document).data == str(number).encode()
    assert value_of({"x": "${input.deep}", "y": "n is ${input.n}"}, input=document) == {
        "x": {"n": [number]},
        "y": f"n is {number}",
    }


def test_a_number_too_large_for_expressions_does_not_spoil_what_stands_beside_it() -> None:
    assert value_of("${input.small + 1}", input={"large": 2**70, "small": 1}) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$", "$"),
        ("$5 {x} }", "$5 {x} }"),
        ("$${input}", "${input}"),
        ("$$${input}", "$${input}"),
        ("a $${b} ${input.s} $${c}", "a ${b} text ${c}"),
        ("${input.s}", "text"),
        ("${ input.s }", "text"),
        ("${input . s}", "text"),
        ("<${input.s}>", "<text>"),
        ("${input.s}${input.n}", "text1"),
        ("${input.n}", 1),
        ("n=${input.n} f=${input.f} t=${input.t} z=${input.z}", "n=1 f=1.5 t=true z=null"),
        ("${input.n + 1} ${input.s == 'text'}", "2 true"),
        ("${'}'}", "}"),
        ('${"}" + "{"}', "}{"),
        ("${'it\\'s }'}", "it's }"),
        ("${r'\\}'}", "\\}"),
        ("${'''it's }'''}", "it's }"),
        ("${{'a': {'b': input.n}}.a.b}", 1),
        ("${{'}': '{'}}", {"}": "{"}),
        ("${[1, 2].map(x, x + input.n)}", [2, 3]),
        ("${input['s']}", "text"),
        ("${has(input.s) && !has(input.absent)}", True),
        ("${input.?absent.orValue('none')}", "none"),
        ("${input.l[0].k}", "v"),
        ("${input.\n  n\n  + 1}", 2),
        ("${'steps.a.output'}", "steps.a.output"),
    ],
)
def test_a_text_is_read_as_documented(text: str, value: object) -> None:
    document = {"s": "text", "n": 1, "f": 1.5, "t": True, "z": None, "l": [{"k": "v"}]}

    assert value_of(text, input=document) == value


def test_escapes_count_in_every_leaf_whether_its_neighbours_are_templates_or_not() -> None:
    assert value_of({"a": "$${x}", "b": ["$${y}", 1]}, input={}) == {"a": "${x}", "b": ["${y}", 1]}
    assert value_of({"a": "$${x}", "b": "${input}"}, input={}) == {"a": "${x}", "b": {}}


def test_keys_keep_their_order_and_are_no_templates() -> None:
    assert evaluated({"z": "${input}", "${input}": 1, "a": [None]}, input=1).data == b'{"z":1,"${input}":1,"a":[null]}'


def test_a_missing_key_is_named_together_with_what_is_there() -> None:
    assert failure("${input.a.nope}", input={"a": {"b": 1, "c": 2}}) == (
        "cannot evaluate `input.a.nope`: there is no 'nope' in it; it has b, c"
    )
    assert failure("${input.a.b}", input={"a": 1}) == "cannot evaluate `input.a.b`: there is no 'b' in it"


@pytest.mark.parametrize("text", ["a ${input.l}", "a ${input}", "${input.l + []}!"])
def test_a_list_or_an_object_cannot_stand_inside_a_text(text: str) -> None:
    assert "cannot stand inside a text" in failure(text, input={"l": [1]})


@pytest.mark.parametrize(
    "tree",
    ["${input.pad}", {"x": "${input.pad}"}, "${input}", {"x": "${input}"}, "${has(input.absent)}", "${input.n + 1}"],
)
def test_a_large_payload_is_no_obstacle_where_it_is_not_looked_into(tree: object) -> None:
    evaluated(tree, input={"n": 1, "pad": "x" * (MAX_LOOKED_INTO + 1)})


@pytest.mark.parametrize(
    "text", ["${size(input.pad)}", "${input.pad + ''}", "${size(input)}", "${input['n']}", "${input.?n}"]
)
def test_an_expression_looks_into_at_most_256_kibibytes(text: str) -> None:
    assert "expressions look into at most 262144" in failure(text, input={"n": 1, "pad": "x" * (MAX_LOOKED_INTO + 1)})


def test_a_list_is_only_too_long_for_map_if_it_is_the_one_that_map_runs_over() -> None:
    document = {"long": list(range(501)), "short": [1, 2]}

    assert value_of("${input.short.map(x, x * 2)}", input=document) == [2, 4]
    assert "at most 500 items" in failure("${input.long.map(x, x * 2)}", input=document)


def test_a_payload_is_decoded_once_however_many_leaves_look_into_it() -> None:
    document = {f"k{n}": "x" * 1000 for n in range(1000)}
    template = compiled({key: f"${{input.{key}}}" for key in document})
    read: list[str] = []

    def noted(variable: str) -> Payload:
        read.append(variable)
        return payload(document)

    assert json.loads(evaluate(template, noted).data) == document
    assert read == ["input"]


@pytest.mark.parametrize(
    "text",
    ["${", "a ${b", "${'}", '${"""}', "${{}", "${" * 100_000, '${"\\' * 50_000, "${'\"" * 50_000, "${r'" * 50_000],
)
def test_an_expression_that_is_not_closed_is_refused_at_once(text: str) -> None:
    (mistake,) = mistakes(text)

    assert mistake.message == "the expression is not closed: a `}` is missing"


def test_a_long_text_without_expressions_costs_nothing() -> None:
    assert value_of("x$" * 125_000, input={}) == "x$" * 125_000


def test_every_mistake_in_a_tree_is_found_with_its_place() -> None:
    found = mistakes({"a": ["${nope}", "fine ${input} ${1 +} ${b}"], "c": "${}"})

    assert [(mistake.path, mistake.offset) for mistake in found] == [
        (("a", 0), 2),
        (("a", 1), 19),
        (("a", 1), 23),
        (("c",), 2),
    ]


def condition(source: str, **values: object) -> bool:
    computed = compile_expression(source, CelCompiler(), VARIABLES, boolean=True)
    known: Mapping[str, object] = {f"steps.{name.replace('_', '.')}": value for name, value in values.items()}
    return evaluate_condition(computed, lambda variable: payload(known[variable]))


def test_a_condition_is_true_or_false_and_nothing_else() -> None:
    assert condition("steps.a.output.n > 1 && steps.a.status == 'SUCCEEDED'", a_output={"n": 2}, a_status="SUCCEEDED")
    assert not condition("steps.a.output.n > 1", a_output={"n": 1})
    others: tuple[object, ...] = (1, "true", None, [], {})
    for output in others:
        with pytest.raises(ExpressionError, match="not true or false"):
            condition("steps.a.output", a_output=output)
    with pytest.raises(ExpressionError, match="Key not found"):
        condition("steps.a.output.absent > 1", a_output={})


BLOCK = """\
name: w
steps:
  - id: a
    call: {plugin: p, operation: o}
    input:
      plain: before ${ input.x + nope } after
      single: 'it''s ${nope}'
      double: "\\u0041 ${input.n + \\"x\\" + nope}"
      literal: |
        first
        ${input.x +
          nope}
      folded: >
        some words
        and ${nope}
      list:
        - ${ok
  - id: b
    switch:
      - when: input.x > 1 &&
          nope
        steps: [{id: c, call: {plugin: p, operation: o}}]
      - when: >-
          steps.a.output.x
          && steps.z.output
        steps: [{id: c, call: {plugin: p, operation: o}}]
output: ${steps.c.output}
"""


def what_stands_at_mistakes(text: str) -> list[str]:
    """The rest of the line from each position that a violation names."""
    positions = [re.search(r"line (\d+), column (\d+): ", message) for message in violations(text)]
    return [text.splitlines()[int(found[1]) - 1][int(found[2]) - 1 :] for found in positions if found]


def test_a_wrong_expression_is_found_in_block_style() -> None:
    assert what_stands_at_mistakes(BLOCK) == [
        "nope } after",
        "nope}'",
        'nope}"',
        "nope}",
        "nope}",
        "${ok",
        "nope",
        "steps.z.output",
        "steps.c.output}",
    ]


def test_a_wrong_expression_is_found_in_flow_style() -> None:
    text = (
        '{"name": "w", "steps": [\n  {"id": "a", "call": {"plugin": "p", "operation": "o"},\n'
        '   "input": ["${here}", "\\n${input.n + \\"é\\" + there}"]}]}'
    )

    assert what_stands_at_mistakes(text) == ['here}", "\\n${input.n + \\"é\\" + there}"]}]}', 'there}"]}]}']


def test_a_condition_that_can_never_be_true_or_false_is_refused_before_anything_runs() -> None:
    step = {"id": "s", "switch": [{"when": "1 + 1", "steps": [call("a")]}]}

    assert violations_of(step)[0].endswith("a condition must be true or false, this gives INT")


EVERYWHERE = ("input", "vars.total", "item", "index", "error", "steps.a.error")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("${vars.total}", Reference("vars.total")),
        ("${vars . total . net}", Reference("vars.total", ("net",))),
        ("${item}", Reference("item")),
        ("${item.error.index}", Reference("item", ("error", "index"))),
        ("${ index }", Reference("index")),
        ("${error.reason}", Reference("error", ("reason",))),
        ("${steps.a.error.code}", Reference("steps.a.error", ("code",))),
    ],
)
def test_plain_paths_lead_into_everything_that_is_visible(text: str, reference: Reference) -> None:
    assert TemplateCompiler(CelCompiler(), EVERYWHERE).compile(text) == reference


def test_an_expression_over_variables_and_items_reads_no_more_than_it_names() -> None:
    read: list[str] = []
    source = "vars.total + item.n + index + size(error.reason) + size(steps.a.error.code)"
    values: dict[str, object] = {
        "vars.total": 1,
        "item": {"n": 2, "rest": "x"},
        "index": 3,
        "error": {"reason": "four"},
        "steps.a.error": {"code": "fives"},
    }

    def reading(variable: str) -> Payload:
        read.append(variable)
        return payload(values[variable])

    computed = TemplateCompiler(CelCompiler(), EVERYWHERE).compile(f"${{{source}}}")

    assert json.loads(evaluate(computed, reading).data) == 15
    assert set(read) == set(values)


def test_a_list_may_be_run_over_with_a_name_that_is_not_visible() -> None:
    assert value_of("${input.map(item, item.n)}", input=[{"n": 1}, {"n": 2}]) == [1, 2]


@pytest.mark.parametrize(
    "source",
    [
        "true && " * 130_000 + "true",
        "(" * 2_000 + "true" + ")" * 2_000,
        "!" * 5_000 + "true",
        "input.__class__()",
        "__class__ == 1",
        "steps.__class__.output",
        "__import__('os').system('true')",
        "'a' + 'b'",
        "[true]",
        "",
    ],
)
def test_a_hostile_condition_is_refused_in_moments(source: str) -> None:
    assert violations_of(call("a", when=source))


def test_a_pattern_that_others_choke_on_is_matched_in_moments() -> None:
    text = "'" + "a" * 2_000 + "!'"
    assert not condition(f"{text}.matches('^(a+)+$')")
