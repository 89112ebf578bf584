import json
from itertools import combinations

import pytest

from forgemesh.faults.control import ConcurrencyKeyInvalid
from forgemesh.orchestrator.execution.concurrency_key import LONGEST, concurrency_key
from forgemesh.orchestrator.values.payload import Payload


def key_of(value: object) -> str:
    return concurrency_key("w", Payload(json.dumps(value).encode()))


DIFFERENT = [
    "tenant",
    '"tenant"',
    "1",
    1,
    -1,
    1.5,
    "1.5",
    10**30,
    "true",
    True,
    False,
    "null",
    " 1",
    "[1]",
    [1],
    ["1"],
    [[1]],
    {"a": 1},
    {"a": "1"},
    '{"a":1}',
    " ",
]


@pytest.mark.parametrize(("one", "other"), list(combinations(DIFFERENT, 2)))
def test_values_that_differ_in_type_or_text_are_different_keys(one: object, other: object) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        ([2.0], [2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"c": 1, "b": 0.0}}, {"a": {"b": 0, "c": 1.0}}),
    ],
)
def test_equal_values_are_one_key_however_they_are_written(one: object, other: object) -> None:
    assert key_of(one) == key_of(other)


def test_an_ordinary_text_stands_for_itself() -> None:
    assert key_of("customer 4711") == "customer 4711"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"null", "it is null"),
        (b'""', "it is empty"),
        (b"[]", "it is empty"),
        (b"{}", "it is empty"),
        (json.dumps("x" * (LONGEST + 1)).encode(), "it has 201 characters"),
        (json.dumps(["x" * LONGEST]).encode(), "it has 204 characters"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_key_is_refused_and_never_cut(data: bytes, problem: str) -> None:
    with pytest.raises(ConcurrencyKeyInvalid, match=problem) as refused:
        concurrency_key("w", Payload(data))

    assert refused.value.metadata["workflow"] == "w"


def test_the_longest_key_is_a_key() -> None:
    assert key_of("x" * LONGEST) == "x" * LONGEST


def test_a_payload_that_is_no_json_is_no_key() -> None:
    with pytest.raises(ConcurrencyKeyInvalid, match="cannot be looked into"):
        concurrency_key("w", Payload(b"x", "text/plain"))
