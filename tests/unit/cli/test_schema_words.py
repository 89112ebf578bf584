from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given, strategies as st

from forgemesh.cli.schema_words import named_types, parameters, read_schema, type_words


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Part:
    name: str
    sub: list[Part] = field(default_factory=list)


class Plain(TypedDict):
    x: int


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "integer"),
        (list[str], "list of string"),
        (list, "list"),
        (dict[str, float], "map of number"),
        (dict, "object"),
        (str | None, "string | null"),
        (Literal["a", 1], '1 | "a"'),
        (Colour, "Colour"),
        (date, "date"),
        (tuple[int, str], "[integer, string]"),
        (Part, "Part"),
        (Plain, "Plain"),
        (Any, "anything"),
        (list[dict[str, int]] | None, "list of map of integer | null"),
    ],
)
def test_types_are_said_in_one_phrase(kind: Any, words: str) -> None:
    schema = msgspec.json.schema(kind)

    assert type_words(schema, schema) == words


def test_parameters_have_types_and_defaults() -> None:
    struct = msgspec.defstruct("reserve", [("article", str), ("number", int, 1), ("note", str | None, None)])
    schema = msgspec.json.schema(struct)

    found = parameters(schema)
    assert found is not None
    assert [str(one) for one in found] == ["article: string", "number: integer = 1", "note: string | null = null"]


def test_a_key_that_may_be_left_out_without_a_default_is_marked() -> None:
    found = parameters({"type": "object", "properties": {"x": {"type": "integer"}}})

    assert found is not None
    assert str(found[0]) == "x?: integer"


def test_named_types_are_listed_with_their_content_also_if_they_hold_themselves() -> None:
    parts = {"type": "array", "items": {"$ref": "#/$defs/Part"}}
    part = {"type": "object", "properties": {"name": {"type": "string"}, "sub": parts}, "required": ["name"]}
    schema = {**parts, "$defs": {"Part": part, "Colour": {"enum": ["blue", "red"]}}}

    assert named_types(schema) == {"Part": "{name: string, sub?: list of Part}", "Colour": '"blue" | "red"'}


def test_the_types_of_an_author_are_named_as_they_are_in_python() -> None:
    schema = msgspec.json.schema(list[Part] | Colour | None)

    assert set(named_types(schema)) == {"Part", "Colour"}
    assert "name: string" in named_types(schema)["Part"]
    assert "list of Part" in named_types(schema)["Part"]


@pytest.mark.parametrize("text", ["", "{", "7", "null", "[]", '{"a":' * 100_000, '{"not":' * 51 + "true" + "}" * 51])
def test_what_is_no_schema_allows_anything(text: str) -> None:
    schema = read_schema(text)

    assert type_words(schema, schema) == "anything"
    assert parameters(schema) is None


def test_references_in_a_circle_end() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}

    assert parameters(schema) is None
    assert set(named_types(schema)) == {"A", "B"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "items", "properties", "anyOf", "$ref", "$defs", "enum", "required", "default", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_schema_of_a_foreign_author_breaks_the_page(foreign: Any) -> None:
    schema = read_schema(json.dumps(foreign))

    assert isinstance(type_words(schema, schema), str)
    assert all(isinstance(content, str) for content in named_types(schema).values())
    assert parameters(schema) is None or parameters(schema) is not None
