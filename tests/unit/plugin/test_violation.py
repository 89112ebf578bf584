from typing import Any

import msgspec
import pytest

from forgemesh.plugin import Payload, PluginDefinition, define, operation, plugin


class Reading(msgspec.Struct):
    value: float


@plugin("test.readings", version="1.0.0")
class Readings:
    @operation
    def mean(self, readings: list[Reading], names: dict[str, int] | None = None) -> Reading:
        return Reading(0.0)

    @operation(strict=True)
    def exact(self, size: int) -> dict[str, list[int]]:
        return {}

    @operation
    def anything(self) -> Any:
        return None


DEFINITION: PluginDefinition = define(Readings)


def refusal(data: bytes, name: str = "mean") -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its text is what is looked at
        DEFINITION.operations[name].input.read(Payload(data))
    return str(refused.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"readings": [{"value": 1}, {"value": "x"}]}', "$.readings[1].value: expected float, got str"),
        (b'{"readings": [{}]}', "$.readings[0].value: is missing"),
        (b"{}", "$.readings: is missing"),
        (b'{"readings": [], "names": {"a": "b"}}', "$.names[...]: expected int, got str"),
        (b"[]", "$: expected object, got array"),
        (b'{"readings": [', "Input data was truncated"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_the_place(data: bytes, said: str) -> None:
    assert refusal(data) == said


def test_keys_without_a_parameter_are_ignored_unless_the_operation_is_strict() -> None:
    loose, strict = b'{"readings": [], "size": 1, "more": 2}', b'{"size": 1, "more": 2}'

    assert DEFINITION.operations["mean"].input.read(Payload(loose)) == {"readings": [], "names": None}
    assert refusal(strict, "exact") == "$.more: unknown key"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mean", {"value": "warm"}, "$.value: expected float, got str"),
        ("mean", None, "$: expected object, got null"),
        ("exact", {"a": [1, "2"]}, "$[...][1]: expected int, got str"),
    ],
)
def test_an_output_that_is_not_what_was_declared_is_refused_with_the_place(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its text is what is looked at
        DEFINITION.operations[name].write(value)

    assert str(refused.value) == said


def test_an_output_that_is_what_was_declared_is_sent() -> None:
    assert DEFINITION.operations["mean"].write(Reading(1.5)).data == b'{"value":1.5}'
    assert DEFINITION.operations["anything"].write({"x": {1, 2}}).data == b'{"x":[1,2]}'
