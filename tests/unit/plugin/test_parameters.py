import math
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin import Context, Payload, define, operation, plugin
from forgemesh.plugin.violation import Misfit


@dataclass
class Reading:
    high: Any


@plugin("kit.test", version="1.0.0")
class Kit:
    @operation
    def sum(self, first: int, second: int = 2, *, more: list[int] = [], ctx: Context) -> int:  # noqa: B006
        return first + second + sum(more)

    @operation
    def exact(self, value: Any) -> Any:
        return value

    @operation
    def whole(self, payload: Payload) -> Payload:
        return payload

    @operation
    def mapped(self) -> dict[Any, Any] | list[Any]:
        return {}

    @operation
    def maybe(self) -> Any | None: ...

    @operation
    def reading(self) -> Reading:
        return Reading(None)

    @operation
    def nothing(self) -> None: ...


OPERATIONS = define(Kit).operations


def read(name: str, data: bytes, media_type: str = "") -> dict[str, Any]:
    return OPERATIONS[name].input.read(Payload(data, media_type))


def test_keys_become_arguments_and_defaults_fill_the_rest() -> None:
    assert read("sum", b'{"first": 1}') == {"first": 1, "second": 2, "more": []}


def test_the_context_is_no_part_of_the_input() -> None:
    assert OPERATIONS["sum"].context == "ctx"
    assert "ctx" not in OPERATIONS["sum"].input.schema


def test_a_default_list_is_made_anew_for_each_call() -> None:
    read("sum", b'{"first": 1}')["more"].append(7)

    assert read("sum", b'{"first": 1}')["more"] == []


def test_keys_without_a_parameter_are_ignored() -> None:
    assert read("sum", b'{"first": 1, "method": "direct"}')["first"] == 1


def test_no_bytes_are_an_empty_object() -> None:
    assert read("nothing", b"") == {}


@pytest.mark.parametrize("data", [b"", b"{}", b'{"first": "1"}', b"[1]", b"null", b'{"first":', b"\xff"])
def test_an_input_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read("sum", data)


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "application/geo+json"])
def test_json_goes_by_several_names(media_type: str) -> None:
    assert read("exact", b'{"value": 1}', media_type) == {"value": 1}


def test_an_input_that_is_no_json_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="it is application/protobuf, the operation takes application/json"):
        read("exact", b"\x08\x01", "application/protobuf")


def test_a_payload_parameter_gets_the_input_unread() -> None:
    payload = Payload(b"\x00\xff", "application/octet-stream", {"type_url": "x"})

    assert OPERATIONS["whole"].input.read(payload) == {"payload": payload}
    assert OPERATIONS["whole"].write(payload) == payload


def test_a_payload_must_hold_bytes() -> None:
    with pytest.raises(Misfit, match="bytes, not int"):
        OPERATIONS["whole"].write(Payload(5))  # type: ignore[arg-type]


def test_what_goes_with_a_payload_must_be_text_that_utf8_knows() -> None:
    for payload in (
        Payload(b"", "caf\udce9/x"),
        Payload(b"", "x/y", {"\udcff": "1"}),
        Payload(b"", "x/y", {"1": "\udcff"}),
    ):
        with pytest.raises(Misfit, match="UTF-8 does not know"):
            OPERATIONS["whole"].write(payload)


@given(st.integers())
def test_integers_of_any_size_stay_exact(number: int) -> None:
    value = read("exact", b'{"value": %d}' % number)["value"]

    assert value == number
    assert OPERATIONS["exact"].write(value).data == b"%d" % number


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_comes_out_as_it_went_in(value: Any) -> None:
    data = msgspec.json.encode({"value": value})

    assert read("exact", data) == {"value": value}


@pytest.mark.parametrize("value", [{"a": [math.nan]}, {1: "a", "1": "b"}, [math.inf]])
@pytest.mark.parametrize("name", ["exact", "mapped", "maybe", "reading"])
def test_an_output_that_json_would_change_is_refused_with_its_place(name: str, value: Any) -> None:
    returned = Reading(value) if name == "reading" else value

    with pytest.raises(Misfit, match=r"is no number of JSON|are both"):
        OPERATIONS[name].write(returned)


def test_a_payload_that_says_that_it_is_json_and_is_none_is_refused() -> None:
    with pytest.raises(Misfit, match="is not valid JSON"):
        OPERATIONS["whole"].write(Payload(b"NaN", "application/problem+json"))
    assert OPERATIONS["whole"].write(Payload(b"NaN", "text/plain")).data == b"NaN"
