from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis.attributes import WORKFLOW_NAME
from forgemesh.chassis.trace_context import parse_traceparent
from forgemesh.client.tracing import CallerSpan, current_traceparent


def test_the_current_opentelemetry_span_is_passed_on() -> None:
    context = trace.SpanContext(
        trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        told = current_traceparent()

    assert told == "00-00000000000000000000000000000abc-0000000000000def-01"


def test_without_a_span_nothing_is_passed_on() -> None:
    assert current_traceparent() is None


def test_a_run_is_the_root_of_its_trace() -> None:
    sent: list[Span] = []
    span = CallerSpan("run etl", {WORKFLOW_NAME: "etl"}, sent.append, sampled=True)
    parent = parse_traceparent(span.traceparent or "")
    assert parent is not None

    span.started("x1", parent.trace_id.hex())
    span.end()

    [root] = sent
    assert (root.name, root.parent_span_id) == ("run etl", b"")
    assert (root.trace_id, root.span_id) == (parent.trace_id, parent.span_id)
    assert root.end_time_unix_nano >= root.start_time_unix_nano > 0


def test_where_nobody_takes_spans_the_mesh_begins_the_trace() -> None:
    sent: list[Span] = []
    span = CallerSpan("run etl", {WORKFLOW_NAME: "etl"}, sent.append, sampled=False)
    span.end()

    assert span.traceparent is None
    assert sent == []


def test_an_execution_of_an_earlier_request_keeps_its_own_trace() -> None:
    sent: list[Span] = []
    span = CallerSpan("run etl", {WORKFLOW_NAME: "etl"}, sent.append, sampled=True)
    span.started("x1", "ab" * 16)
    span.end()

    assert sent == []


def test_a_failure_is_on_the_span() -> None:
    sent: list[Span] = []
    span = CallerSpan("run etl", {WORKFLOW_NAME: "etl"}, sent.append, sampled=True)
    span.failed("CSV_EMPTY", "execution x1 failed at read")
    span.end()

    [root] = sent
    assert root.status.message == "execution x1 failed at read"
    assert {pair.key: pair.value.string_value for pair in root.attributes}["error.type"] == "CSV_EMPTY"
