"""A few lines of schema ask for years of work; a check ends within its allowance, and says the same as jsonschema."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator

from forgemesh.language.allowance import Allowance, SchemaTooCostly, SchemaUnusable
from forgemesh.language.json_schema import errors_of, is_schema, validator_of

UNITS = 200_000
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def doubled(rule: Any, last: object) -> dict[str, Any]:
    """Each definition refers twice to the next one, forty times over."""
    chain: dict[str, Any] = {f"d{number}": rule({"$ref": f"#/$defs/d{number + 1}"}) for number in range(40)}
    return {"$defs": {**chain, "d40": last}, "$ref": "#/$defs/d0"}


BOMBS: dict[str, tuple[Any, Any]] = {
    "references that double": (doubled(lambda below: {"allOf": [below, below]}, {"type": "integer"}), 1),
    "alternatives that double": (doubled(lambda below: {"anyOf": [below, below]}, False), 1),
    "properties that were evaluated": (
        doubled(lambda below: {"dependentSchemas": {"a": below, "b": below}}, {}) | {"unevaluatedProperties": False},
        {"a": 1, "b": 2},
    ),
    "items that were evaluated": (
        {"unevaluatedItems": False, "prefixItems": [True] * 20_000},
        [1] * 20_000,
    ),
    "alternatives that evaluate all": (
        {"anyOf": [{"items": True}] * 20_000, "unevaluatedItems": False},
        [1] * 10_000,
    ),
    "a complaint about a large value, again and again": ({"allOf": [{"type": "string"}] * 10_000}, ["x" * 100] * 4_000),
    "alternatives that all complain": ({"anyOf": [{"const": "x"}] * 10_000}, ["x" * 100] * 4_000),
    "a choice among large values": ({"enum": [["a"] * 1_000 + [i] for i in range(1_000)]}, ["a"] * 1_000),
    "a large constant": ({"items": {"const": list(range(1_000))}}, [list(range(1_000))] * 1_000),
    "names that are required": ({"items": {"required": ["a"] * 10_000}}, [{"a": 1}] * 1_000),
    "names that depend": ({"items": {"dependentRequired": {"a": ["a"] * 10_000}}}, [{"a": 1}] * 1_000),
    "patterns for all names": (
        {"patternProperties": {f"a{number}b": True for number in range(1_000)}},
        {f"n{number}": 1 for number in range(1_000)},
    ),
    "patterns that hold nothing back": (
        {"patternProperties": {f"a{number}b": True for number in range(1_000)}, "additionalProperties": False},
        {f"n{number}": 1 for number in range(1_000)},
    ),
    "rules that pass over all": ({"allOf": [{"items": True}] * 10_000}, [1] * 10_000),
    "members that are looked for": ({"allOf": [{"contains": {"const": 2}}] * 1_000}, [1] * 1_000),
    "names of names": ({"allOf": [{"propertyNames": {"maxLength": 3}}] * 100}, {str(i): 1 for i in range(1_000)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_check_that_asks_for_too_much_ends(name: str) -> None:
    schema, value = BOMBS[name]
    validator, allowance = validator_of(schema), Allowance(UNITS)

    with pytest.raises(SchemaTooCostly):
        errors_of(validator, value, allowance)


def test_what_several_checks_share_is_one_allowance() -> None:
    validator, allowance = validator_of({"type": "array", "items": {"type": "integer"}}), Allowance(1_000)

    errors_of(validator, [1] * 20, allowance)
    left = allowance.left
    errors_of(validator, [1] * 20, allowance)
    assert 1_000 - left == left - allowance.left > 20


LIGHT: dict[str, tuple[Any, Any]] = {
    "many different members": ({"uniqueItems": True}, [{"a": number} for number in range(20_000)]),
    "lists that differ at their end": ({"uniqueItems": True}, [["a"] * 20 + [number] for number in range(2_000)]),
    "an anchor among many": (
        {
            "$defs": {f"d{i}": {"type": "string"} for i in range(3_000)} | {"x": {"$anchor": "x"}},
            "items": {"$ref": "#x"},
        },
        [1] * 3_000,
    ),
    "a form with three hundred rows": (
        {
            "items": {
                "type": "object",
                "properties": {f"f{number}": {"type": "string", "maxLength": 10} for number in range(20)},
                "additionalProperties": False,
            }
        },
        [{f"f{number}": "x" for number in range(20)}] * 300,
    ),
}


@pytest.mark.parametrize("name", LIGHT)
def test_a_large_value_that_takes_one_pass_is_checked(name: str) -> None:
    schema, value = LIGHT[name]

    assert errors_of(validator_of(schema), value, Allowance(UNITS)) == []


@pytest.mark.parametrize("place", ["$ref", "$dynamicRef", "allOf"])
def test_a_schema_that_says_which_rules_it_is_meant_for_is_searched_as_others_are(place: str) -> None:
    own: dict[str, Any] = {"$schema": DIALECT, "$id": "http://a/own", "$dynamicAnchor": "x", "pattern": "^(a+)+$"}
    below: Any = {"$ref": {"$ref": "own"}, "$dynamicRef": {"$dynamicRef": "own#x"}, "allOf": {"allOf": [own]}}[place]
    schema = {"$schema": DIALECT, "$id": "http://a/all", "$defs": {"own": own}, "properties": {"a": below}}

    assert len(errors_of(validator_of(schema), {"a": "a" * 60 + "!"}, Allowance(UNITS))) == 1


def test_a_property_may_be_called_as_a_rule_is() -> None:
    schema = {"properties": {"$schema": {"type": "integer"}}, "required": ["$schema"]}

    assert [error.message for error in errors_of(validator_of(schema), {"$schema": "x"}, Allowance(UNITS))] == [
        "'x' is not of type 'integer'"
    ]


@pytest.mark.parametrize(
    ("schema", "value", "cause"),
    [
        ({"$ref": "#"}, 1, "to itself without end"),
        ({"$ref": "http://example.org/x"}, 1, "'http://example.org/x', which is not in it"),
        ({"$ref": "#/$defs/x"}, 1, "which is not in it"),
        ({"$ref": "#x"}, 1, "which is not in it"),
        ({"multipleOf": 0}, 1, "ZeroDivisionError"),
        ({"multipleOf": 0.5}, 10**400, "OverflowError"),
        ({"minimum": "a"}, 1, "TypeError"),
        ({"properties": 3}, {}, "TypeError|AttributeError"),
        ({"allOf": {"a": 1}}, {}, "cannot be applied"),
    ],
    ids=json.dumps,
)
def test_a_schema_that_cannot_be_applied_is_told(schema: Any, value: object, cause: str) -> None:
    with pytest.raises(SchemaUnusable, match=cause):
        errors_of(validator_of(schema), value, Allowance(UNITS))


def test_whether_something_is_a_schema() -> None:
    assert is_schema({"$schema": DIALECT, "type": "object", "properties": {"a": {"minimum": 3}}}, Allowance(UNITS))
    assert not is_schema({"properties": {"a": {"minimum": "3"}}}, Allowance(UNITS))
    assert not is_schema({"required": "a"}, Allowance(UNITS))
    with pytest.raises(SchemaTooCostly):
        is_schema({"properties": {f"p{number}": {"minimum": 3} for number in range(10_000)}}, Allowance(UNITS))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, -1.5]), st.sampled_from("ab")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.lists(VALUES, min_size=1, max_size=4))
def test_equality_is_that_of_jsonschema(value: object, others: list[object]) -> None:
    for schema in ({"enum": others}, {"const": others[0]}, {"uniqueItems": True}, {"enum": [[value], *others]}):
        for instance in (value, [value, *others], [*others, *others[:1]]):
            own = not errors_of(validator_of(schema), instance, Allowance(UNITS))
            assert own == Draft202012Validator(schema).is_valid(instance)
