import json
from typing import Any

import pytest

from forgemesh.language.allowance import Allowance
from forgemesh.orchestrator.workflow.call_input import input_mistakes, known_of
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.expressions.template import TemplateCompiler

SCHEMA: dict[str, Any] = {
    "$ref": "#/$defs/Charge",
    "$defs": {
        "Charge": {
            "type": "object",
            "required": ["card", "amount"],
            "properties": {
                "card": {"type": "string", "minLength": 4},
                "amount": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            },
            "additionalProperties": False,
        }
    },
}


def mistakes(given: object, schema: object = SCHEMA) -> list[str]:
    template = TemplateCompiler(CelCompiler(), ("input",)).compile(given)
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return input_mistakes(known_of(template), text, Allowance(100_000))


def test_what_is_computed_may_be_anything() -> None:
    assert mistakes("${input}") == []
    assert mistakes({"card": "${input.card}", "amount": "${input.amount + 1}", "tags": ["a", "${input.tag}"]}) == []
    assert mistakes({"card": "${input.card}", "amount": "${input.amount}", "tags": "${input.tags}"}) == []


def test_a_field_that_is_missing_or_unknown_is_told_whatever_the_others_are() -> None:
    assert mistakes({"card": "${input.card}", "sum": 3}) == [
        "input: 'amount' is a required property",
        "input: Additional properties are not allowed ('sum' was unexpected)",
    ]


def test_a_value_that_stands_there_must_fit() -> None:
    found = mistakes({"card": 4711, "amount": "much", "tags": ["a", 1, "${input.tag}"]})
    assert [one.partition(":")[0] for one in found] == ["input.amount", "input.card", "input.tags[1]"]


def test_a_text_with_values_in_it_is_computed() -> None:
    assert mistakes({"card": "x${input.card}", "amount": None}) == []


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "no json",
        "[]",
        {"type": "nothing"},
        {"$ref": "https://example.org/elsewhere.json"},
        {"$ref": "#/$defs/Missing"},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_says_nothing_usable_refuses_nothing(schema: object) -> None:
    assert mistakes({"any": 1}, schema) == []


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_schemas_and_inputs_are_followed_fifty_levels_and_no_further() -> None:
    recursive = {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "string"}]}
    deep = '{"allOf":[' * 24 + '{"type":"string"}' + "]}" * 24

    assert mistakes(nested(50), recursive) != []
    assert mistakes(nested(51), recursive) == []
    assert mistakes(7, deep) != []
    assert mistakes(7, f'{{"allOf":[{deep}]}}') == []
    assert mistakes(7, "[" * 950 + "]" * 950) == []
    assert mistakes(7, '{"allOf": [' * 950 + "{}" + "]}" * 950) == []


def test_a_schema_that_refers_to_itself_without_an_end_says_nothing() -> None:
    assert mistakes(7, {"$ref": "#"}) == []
