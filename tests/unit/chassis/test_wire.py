import pytest
from hypothesis import given, strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.api.orchestrator.v1 import event_pb2
from forgemesh.chassis.span_encoding import encoded_attribute, number_attribute, text_attribute
from forgemesh.chassis.telemetry import MAX_TEXT
from forgemesh.chassis.wire import encoded_varint, length_delimited, varint

sizes = st.integers(0, 2 * MAX_TEXT)
anything = st.text(st.characters(exclude_categories=()), max_size=300)


@given(st.integers(1, 2**64 - 1))
def test_a_number_is_on_the_wire_what_protobuf_makes_of_it(number: int) -> None:
    written = event_pb2.ExecutionEvent(sequence=number).SerializeToString()

    assert b"\x08" + encoded_varint(number) == b"\x08" + varint(number) == written


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_has_no_place_on_the_wire_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        encoded_varint(number)


@given(st.binary(max_size=300))
def test_bytes_stand_behind_their_field_and_their_size(data: bytes) -> None:
    assert event_pb2.StoredEvent.FromString(length_delimited(3, len(data)) + data).event == data


@given(anything, anything)
def test_a_text_is_the_attribute_that_its_message_would_be(key: str, value: str) -> None:
    key = key.encode(errors="replace").decode()

    assert text_attribute(key, value) == encoded_attribute(key, value)


@given(sizes, st.sampled_from("aü字😀"))
def test_a_text_of_any_length_is_cut_like_any_other(size: int, letter: str) -> None:
    assert text_attribute("key", letter * size) == encoded_attribute("key", letter * size)


@given(st.floats(allow_nan=True))
def test_a_float_is_the_attribute_that_its_message_would_be(value: float) -> None:
    assert number_attribute("key", value) == encoded_attribute("key", value)
    assert len(Span.FromString(number_attribute("key", value)).attributes) == 1
