import json

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.api.traces.v1 import span_pb2
from forgemesh.chassis.pages import token_after
from forgemesh.faults.service import InvalidRequest
from forgemesh.traces import codec
from forgemesh.traces.domain.span import PageEnd, StoredSpan
from tests.unit.traces import otlp


def read_back(message: Span) -> span_pb2.Span:
    sender = otlp.resource("weather.stats", "weather.stats-1").SerializeToString()
    stored = StoredSpan(message.start_time_unix_nano, message.span_id, message.SerializeToString(), sender)
    (read,) = codec.to_spans([stored])
    return read


def with_value(value: AnyValue) -> Span:
    message = otlp.span(1, 1)
    message.attributes.append(KeyValue(key="value", value=value))
    return message


def changed(**fields: object) -> Span:
    message = otlp.span(1, 1)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    "malformed",
    [
        changed(trace_id=b""),
        changed(trace_id=b"\x01" * 15),
        changed(trace_id=b"\x01" * 17),
        changed(trace_id=bytes(16)),
        changed(span_id=b""),
        changed(span_id=b"\x01" * 7),
        changed(span_id=bytes(8)),
        changed(parent_span_id=b"\x01" * 9),
        changed(start_time_unix_nano=0),
        changed(start_time_unix_nano=2**63),
        changed(end_time_unix_nano=2**64 - 1),
        changed(name="x" * (codec.MAX_SPAN_BYTES + 1)),
    ],
)
def test_a_malformed_span_is_left_out_and_counted_and_the_others_are_kept(malformed: Span) -> None:
    deliveries, answer = codec.deliveries_of(otlp.request([otlp.span(1, 1), malformed, otlp.span(1, 2)]))

    assert [span.span_id for span in deliveries[0].spans] == [otlp.span_id(1), otlp.span_id(2)]
    assert answer.partial_success.rejected_spans == 1
    assert answer.partial_success.error_message.startswith("not stored: ")


def test_the_answer_to_a_clean_batch_is_empty() -> None:
    _, answer = codec.deliveries_of(otlp.request([otlp.span(1, 1)]))

    assert answer.ByteSize() == 0


def test_the_answer_tells_the_reasons_apart() -> None:
    malformed = [changed(span_id=b""), changed(span_id=bytes(8)), changed(start_time_unix_nano=0)]

    _, answer = codec.deliveries_of(otlp.request(malformed))

    assert answer.partial_success.rejected_spans == 3
    assert "the span id is not 8 bytes, or zero (2 spans)" in answer.partial_success.error_message
    assert "no start" in answer.partial_success.error_message


def test_a_span_is_kept_byte_for_byte() -> None:
    message = otlp.span(1, 1, attributes={"pi": 3.14, "n": 2**62, "yes": True})

    deliveries, _ = codec.deliveries_of(otlp.request([message]))

    assert Span.FromString(deliveries[0].spans[0].body) == message
    assert codec.stored_span_of(deliveries[0].spans[0].body) == deliveries[0].spans[0]


def test_a_parent_of_zeros_is_no_parent() -> None:
    deliveries, _ = codec.deliveries_of(otlp.request([changed(parent_span_id=bytes(8))]))

    assert deliveries[0].spans[0].parent_id is None
    assert read_back(changed(parent_span_id=bytes(8))).parent_span_id == ""


def test_a_span_never_ends_before_it_starts() -> None:
    backwards = changed(end_time_unix_nano=otlp.START - 1)

    assert read_back(backwards).end_unix_nano == otlp.START


def test_a_span_says_who_sent_it_what_it_is_and_how_it_ended() -> None:
    read = read_back(otlp.span(1, 2, 3, name="read", failed=True))

    assert (read.service, read.service_instance) == ("weather.stats", "weather.stats-1")
    assert (read.trace_id, read.span_id, read.parent_span_id) == ("0" * 31 + "1", "0" * 15 + "2", "0" * 15 + "3")
    assert (read.name, read.kind) == ("read", "INTERNAL")
    assert (read.status, read.status_message) == (span_pb2.SPAN_STATUS_ERROR, "it broke")


@pytest.mark.parametrize(
    ("kind", "name"), [(0, "INTERNAL"), (2, "SERVER"), (3, "CLIENT"), (5, "CONSUMER"), (9, "INTERNAL")]
)
def test_kinds_are_named_and_unknown_ones_are_internal(kind: int, name: str) -> None:
    assert read_back(changed(kind=kind)).kind == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (AnyValue(string_value="as it is"), "as it is"),
        (AnyValue(bool_value=True), "true"),
        (AnyValue(int_value=-(2**63)), "-9223372036854775808"),
        (AnyValue(double_value=0.5), "0.5"),
        (AnyValue(bytes_value=b"\x00\xff"), "00ff"),
        (AnyValue(), ""),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(string_value="ä")])), '[1, "ä"]'),
        (
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(bool_value=False))])),
            '{"a": false}',
        ),
        (AnyValue(string_value="x" * 5000), "x" * 4096),
    ],
)
def test_every_attribute_value_has_a_text(value: AnyValue, text: str) -> None:
    assert read_back(with_value(value)).attributes["value"] == text


def test_events_come_in_order_of_time_and_links_name_their_span() -> None:
    message = otlp.span(1, 1)
    message.events.add(name="second", time_unix_nano=20)
    message.events.add(name="first", time_unix_nano=10)
    message.links.add(trace_id=otlp.trace_id(7), span_id=otlp.span_id(8))

    read = read_back(message)

    assert [event.name for event in read.events] == ["first", "second"]
    assert (read.links[0].trace_id, read.links[0].span_id) == (otlp.trace_id(7).hex(), otlp.span_id(8).hex())


@pytest.mark.parametrize("text", ["", "12", "0" * 31, "0" * 33, "g" * 32, " " * 32, "ab" * 15 + "\n\n", "\u0660" * 32])
def test_a_trace_id_is_32_hex_digits(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        codec.trace_id_of(text)

    assert refused.value.violations[0].field == "trace_id"


def test_a_trace_id_may_be_written_in_capitals() -> None:
    assert codec.trace_id_of("AB" * 16) == bytes.fromhex("ab" * 16)


def test_a_page_token_leads_back_to_its_place() -> None:
    place = PageEnd(otlp.START, otlp.span_id(5))

    assert codec.page_end_of(codec.to_page_token(*place), 8) == place
    assert codec.page_end_of("", 8) is None


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "????",
        "AAAA",
        "ä",
        "\U0001f600",
        json.dumps({}),
        codec.to_page_token(1, b"\x00" * 16),
        codec.to_page_token(2**63, b"\x00" * 8),
        token_after("1"),
        token_after("-1", "00" * 8),
        token_after("1", "0x" * 8),
        token_after("1", "00" * 8, "more"),
        token_after("9" * 5000, "00" * 8),
    ],
)
def test_a_page_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest):
        codec.page_end_of(token, 8)
