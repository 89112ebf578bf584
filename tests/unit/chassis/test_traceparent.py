import pytest
from hypothesis import given, strategies as st

from forgemesh.chassis.trace_context import TraceParent, new_span_id, new_trace_id, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_valid_one_is_read(text: str, sampled: bool) -> None:
    assert parse_traceparent(text) == TraceParent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-01-more",
        f"0-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}{SPAN}-01",
        f"00-{'g' * 32}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-+1",
        f"00-{TRACE}-{SPAN}- 1",
        f"00-{TRACE[:-2]} 6-{SPAN}-01",
        f"00-{'ab ' * 10}ab-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00_{TRACE}_{SPAN}_01",
        "\u0660" * 55,
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_was_written_is_read_back_unless_an_id_is_zero(trace_id: bytes, span_id: bytes, sampled: bool) -> None:
    written = TraceParent(trace_id, span_id, sampled)

    assert parse_traceparent(str(written)) == (written if any(trace_id) and any(span_id) else None)


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    assert parse_traceparent(text) is None


def test_new_ids_have_their_lengths_and_differ() -> None:
    traces, spans = {new_trace_id() for _ in range(100)}, {new_span_id() for _ in range(100)}

    assert {len(trace) for trace in traces} == {16}
    assert {len(span) for span in spans} == {8}
    assert len(traces) == len(spans) == 100
