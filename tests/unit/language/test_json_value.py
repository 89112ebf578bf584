import dataclasses
import enum
import json
import math
from typing import Any

import msgspec
import pytest

from forgemesh.language.json_value import (
    NotJson,
    is_json,
    read_document,
    read_json,
    write_json,
)
from forgemesh.language.nesting import MAX_DEPTH

NAN = math.nan


@dataclasses.dataclass
class Reading:
    high: Any


class Row(msgspec.Struct):
    cells: Any


class Level(enum.Enum):
    UNKNOWN = NAN


@pytest.mark.parametrize(
    "data",
    [
        b'{"v": NaN}',
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"[-1e309]",
        b"9" * 5000,
        b"nul",
        b"{} {}",
        b"",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'{"\\ud800": 1}',
        b"\xef\xbb\xbf1",
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)
def test_what_not_every_reader_reads_alike_is_no_json(data: bytes) -> None:
    with pytest.raises(NotJson):
        read_json(data)


@pytest.mark.parametrize("data", [b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, b"1e308", b'"\\ud83d\\ude00"', b"9" * 1000])
def test_what_lies_within_the_bounds_is_read(data: bytes) -> None:
    assert read_json(data) == json.loads(data)


def test_of_a_key_that_stands_twice_the_last_one_counts_unless_a_person_wrote_it() -> None:
    assert read_json(b'{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(NotJson, match='the key "a" stands there twice'):
        read_document(b'[{"b": {"a": 1, "a": 2}}]')


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/problem+json",
        "a/B+JSON",
    ],
)
def test_json_has_many_names(media_type: str) -> None:
    assert is_json(media_type)


@pytest.mark.parametrize("media_type", ["text/plain", "application/jsonl", "application/x-json-not", "text/json5"])
def test_what_has_another_name_is_no_json(media_type: str) -> None:
    assert not is_json(media_type)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (NAN, "NaN is no number of JSON"),
        ({"rows": [{"v": -math.inf}]}, "$.rows[0].v: -Infinity is no number of JSON"),
        ((1, (math.inf,)), "$[1][0]: Infinity is no number of JSON"),
        ({"r": Reading(NAN)}, "$.r.high: NaN is no number of JSON"),
        ([Row({"a": NAN})], "$[0].cells.a: NaN is no number of JSON"),
        ([Level.UNKNOWN], "$[0]: NaN is no number of JSON"),
        ({1: "a", "1": "b"}, 'two keys of different types are both "1" in JSON'),
        ({"x": {1.5: "a", "1.5": "b"}}, '$.x: two keys of different types are both "1.5" in JSON'),
        ({NAN: 1}, "NaN is no key of JSON"),
        ({"t": ["\ud800"]}, "$.t[0]: a text holds U+D800, half of a character"),
    ],
)
def test_a_value_that_would_not_come_back_is_refused_with_its_place(value: object, said: str) -> None:
    with pytest.raises(NotJson) as refused:
        write_json(value)

    assert str(refused.value) == said


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(NotJson, match="nested deeper than"):
        write_json(endless)


@pytest.mark.parametrize("value", [None, {1: "a", 2: "b"}, (1, 2), Reading(1.5), Row([None]), msgspec.Raw(b"[1]")])
def test_what_comes_back_in_another_type_is_written_all_the_same(value: object) -> None:
    assert write_json(value) == msgspec.json.encode(value)


def test_bytes_that_are_taken_for_json_are_read_before_they_are_written() -> None:
    with pytest.raises(NotJson):
        write_json({"x": msgspec.Raw(b"NaN")})
