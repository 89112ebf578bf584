"""Patterns in schemas that others wrote: a search takes as long as its text is, whatever the pattern is."""

from typing import Any

import pytest

from forgemesh.language.allowance import Allowance
from forgemesh.language.json_schema import errors_of, validator_of
from forgemesh.language.schema_patterns import patterns_in, read_schema, unreadable_pattern

LONG = "a" * 50_000 + "!"
"""A search by backtracking would not end on it."""


def mistakes(schema: Any, value: Any) -> list[str]:
    found = errors_of(validator_of(schema), value, Allowance(200_000))
    return [f"{error.json_path}: {error.message}"[:60] for error in found]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a)*$", "(.*a){30}$", "^(([a-z])+.)+[A-Z]$"])
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (lambda pattern: {"pattern": pattern}, LONG),
        (lambda pattern: {"items": {"pattern": pattern}}, [LONG]),
        (lambda pattern: {"propertyNames": {"pattern": pattern}}, {LONG: 1}),
        (lambda pattern: {"patternProperties": {pattern: False}}, {LONG: 1}),
        (lambda pattern: {"patternProperties": {pattern: True}, "additionalProperties": False}, {LONG: 1}),
        (lambda pattern: {"patternProperties": {pattern: True}, "unevaluatedProperties": False}, {LONG: 1}),
        (lambda pattern: {"$ref": "#/$defs/a", "$defs": {"a": {"pattern": pattern}}}, LONG),
        (lambda pattern: {"not": {"anyOf": [{"pattern": pattern}, {"pattern": pattern}]}}, LONG),
    ],
)
def test_a_search_ends_whatever_the_pattern_is(pattern: str, schema: Any, value: object) -> None:
    mistakes(schema(pattern), value)


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ({"pattern": "^a+$"}, "aaa", []),
        ({"pattern": "^a+$"}, "ab", ["$: 'ab' does not match '^a+$'"]),
        ({"pattern": "b"}, "abc", []),
        ({"pattern": "^a+$"}, 3, []),
        ({"pattern": "^[\\u4e00-\\u9fa5]+$"}, "中文", []),
        ({"pattern": "^a\\Z"}, "a", []),
        ({"pattern": "^\\\\u0041$"}, "\\u0041", []),
        ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": "x"}, ["$.n1: 'x' is not of type 'integer'"]),
        ({"patternProperties": {"^n": {}}, "additionalProperties": False}, {"n1": 1}, []),
        (
            {"properties": {"a": {}}, "patternProperties": {"^n": {}}, "additionalProperties": False},
            {"a": 1, "n1": 1, "x": 1},
            ["$: Additional properties are not allowed ('x' was unexpected"],
        ),
        ({"additionalProperties": {"type": "integer"}}, {"a": "x"}, ["$.a: 'x' is not of type 'integer'"]),
        ({"additionalProperties": True}, {"a": "x"}, []),
        (
            {"properties": {"a": {}}, "unevaluatedProperties": False},
            {"b": 1},
            ["$: Unevaluated properties are not allowed ('b' was unexpecte"],
        ),
    ],
)
def test_what_it_says_is_what_json_schema_says(schema: Any, value: object, told: list[str]) -> None:
    assert mistakes(schema, value) == told


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", "(a)\\1", "a{2000}", "(", "((a{1,100}){1,100}){1,100}", "\ud800", "[b-a]"]
)
def test_a_pattern_that_cannot_be_read_is_named_with_its_place_and_forbids_nothing(pattern: str) -> None:
    schema = {"type": "object", "properties": {"card": {"allOf": [{"pattern": pattern}]}}}

    assert unreadable_pattern(schema).startswith("$.properties.card.allOf[0].pattern: the pattern ")
    assert mistakes(schema, {"card": "x"}) == []


def test_a_pattern_is_looked_for_where_schemas_stand_and_nowhere_else() -> None:
    schema = {
        "properties": {"pattern": {"pattern": "a"}, "const": {"pattern": "b"}},
        "patternProperties": {"c": {"pattern": "d"}},
        "$defs": {"enum": {"items": [{"pattern": "e"}]}},
        "const": {"pattern": "no"},
        "default": {"pattern": "no"},
        "enum": [{"pattern": "no"}],
        "examples": [{"pattern": "no"}],
        "additionalProperties": {"if": {"pattern": "f"}},
    }

    assert sorted(pattern for _, pattern in patterns_in(schema)) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("text", ["", "[", "[]", "3", "[" * 60 + "]" * 60])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_schema(text)
