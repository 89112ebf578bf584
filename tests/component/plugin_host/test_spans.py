import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from forgemesh.chassis.logs import JsonFormatter
from forgemesh.chassis.telemetry import SpanSink, exporting_spans
from forgemesh.plugin_host.host.telemetry.author_spans import tracer_provider
from tests.component.plugin_host.collector import Collector, attributes_of, collecting
from tests.component.plugin_host.hosts import Served, eventually, host_at, invocation, invoke, session

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@pytest.fixture
async def sink(collector: Collector) -> AsyncIterator[SpanSink]:
    async with exporting_spans("test.kit", "kit-1", collector.address, version="1.0.0") as sink:
        yield sink


@pytest.fixture
async def traced(sink: SpanSink) -> AsyncIterator[Served]:
    async with host_at(sink) as served:
        yield served


async def only_span(collector: Collector) -> Span:
    (span,) = await collector.until(bool)
    return span


async def test_a_call_is_one_span_below_its_caller(traced: Served, collector: Collector) -> None:
    traced.identity.registered(7)
    await invoke(
        traced,
        "echo",
        value=1,
        traceparent=SAMPLED,
        execution_id="01J",
        step_path="analyse/wind",
        attempt=2,
        idempotency_key="01J/analyse/wind",
    )
    span = await only_span(collector)

    assert span.name == "execute test.kit/echo"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert span.status.code == Status.STATUS_CODE_UNSET
    found = attributes_of(span)
    assert isinstance(found.pop("forgemesh.queue.wait_ms"), float)
    assert found == {
        "forgemesh.execution.id": "01J",
        "forgemesh.step.path": "analyse/wind",
        "forgemesh.step.attempt": 2,
        "forgemesh.idempotency.key": "01J/analyse/wind",
        "forgemesh.plugin.id": "test.kit",
        "forgemesh.plugin.version": "1.0.0",
        "forgemesh.operation": "echo",
        "forgemesh.instance.id": "kit-1",
        "forgemesh.instance.incarnation": 7,
    }
    resource = attributes_of(collector.resource)
    assert (resource["service.name"], resource["service.instance.id"]) == ("test.kit", "kit-1")


async def test_calls_of_a_session_have_their_spans_too(traced: Served, collector: Collector) -> None:
    async with session(traced) as caller:
        await caller.send(*[invocation("echo", value=number, traceparent=SAMPLED) for number in range(3)])
        await caller.results(3)
        spans = await collector.until(lambda spans: len(spans) == 3)

    assert len({span.span_id for span in spans}) == 3
    assert {span.parent_span_id.hex() for span in spans} == {PARENT}


async def test_a_trace_that_is_not_sampled_is_not_recorded(
    traced: Served, collector: Collector, sink: SpanSink
) -> None:
    await invoke(traced, "echo", value=1, traceparent=UNSAMPLED)
    await invoke(traced, "echo", value=2, traceparent=SAMPLED)

    await only_span(collector)
    assert sink.counts.added == 1


@pytest.mark.parametrize("traceparent", ["", "garbage", f"00-{'0' * 32}-{PARENT}-01"])
async def test_a_caller_without_a_trace_gets_one(traced: Served, collector: Collector, traceparent: str) -> None:
    await invoke(traced, "echo", value=1, traceparent=traceparent)
    span = await only_span(collector)

    assert any(span.trace_id)
    assert not span.parent_span_id


async def test_a_failure_shows_on_the_span(traced: Served, collector: Collector) -> None:
    await invoke(traced, "raises", text="no such day", traceparent=SAMPLED)
    span = await only_span(collector)

    assert span.status.code == Status.STATUS_CODE_ERROR
    assert "ValueError: no such day" in span.status.message
    assert attributes_of(span)["error.type"] == "PLUGIN_EXCEPTION"
    (event,) = span.events
    exception = attributes_of(event)
    assert event.name == "exception"
    assert (exception["exception.type"], exception["exception.message"]) == ("ValueError", "no such day")
    assert "raise ValueError(text)" in str(exception["exception.stacktrace"])


async def test_what_no_span_can_hold_is_made_to_fit(traced: Served, collector: Collector) -> None:
    await invoke(traced, "raises_what_utf8_does_not_know", traceparent=SAMPLED)
    span = await only_span(collector)

    assert attributes_of(span)["file?"] == str(2**70)
    assert [event.name for event in span.events] == ["read ?", "exception"]
    assert attributes_of(span.events[0]) == {"of": "?"}
    assert attributes_of(span.events[1])["exception.message"] == "no file 'caf?.csv'"


async def test_telemetry_does_not_fail_the_work_that_it_observes(
    traced: Served, collector: Collector, sink: SpanSink
) -> None:
    traced.kit.tracer = tracer_provider(sink, asyncio.get_running_loop()).get_tracer("author")
    result = await invoke(traced, "traces_nonsense", traceparent=SAMPLED)
    spans = {span.name: span for span in await collector.until(lambda spans: len(spans) == 3)}

    assert json.loads(result.output.data) == "done"
    execute, outer, below = spans["execute test.kit/traces_nonsense"], spans["caf?"], spans["below"]
    assert attributes_of(execute)["shown"] == "<Unspeakable>"
    assert [event.name for event in execute.events] == ["<Unspeakable>", "exception"]
    assert attributes_of(execute.events[1])["exception.message"] == "<Unspeakable>"
    assert (outer.parent_span_id, below.parent_span_id) == (execute.span_id, outer.span_id)
    assert outer.start_time_unix_nano <= below.start_time_unix_nano <= outer.end_time_unix_nano


async def test_a_call_that_was_taken_back_is_no_error(traced: Served, collector: Collector) -> None:
    async with session(traced) as caller:
        await caller.send(invocation("hold", traceparent=SAMPLED))
        await eventually(lambda: traced.kit.running == 1)
        await caller.send(cancels=[1])
        span = await only_span(collector)

    assert span.status.code == Status.STATUS_CODE_UNSET
    assert attributes_of(span)["error.type"] == "CANCELLED"


async def test_the_context_hands_on_the_span_of_the_call(traced: Served, collector: Collector) -> None:
    result = await invoke(traced, "tells", traceparent=SAMPLED)
    span = await only_span(collector)

    assert json.loads(result.output.data)["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"


async def test_an_author_can_add_to_the_span_of_the_call(traced: Served, collector: Collector) -> None:
    """Without a tracer provider the author's own spans are not recorded."""
    traced.kit.open.set()
    await invoke(traced, "traces", traceparent=SAMPLED)
    span = await only_span(collector)

    assert attributes_of(span)["author.said"] == "hello"


async def test_spans_of_the_author_are_sent_with_the_call_and_below_it(
    traced: Served, collector: Collector, sink: SpanSink
) -> None:
    traced.kit.tracer = tracer_provider(sink, asyncio.get_running_loop()).get_tracer("author")
    calling = asyncio.create_task(invoke(traced, "traces", traceparent=SAMPLED))
    await eventually(lambda: traced.kit.running == 1)
    added_before_the_end = sink.counts.added
    traced.kit.open.set()
    await calling
    spans = {span.name: span for span in await collector.until(lambda spans: len(spans) == 3)}

    assert added_before_the_end == 0
    execute = spans["execute test.kit/traces"]
    assert spans["outer"].parent_span_id == execute.span_id
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert attributes_of(spans["outer"]) == {"rows": 7, "otel.scope.name": "author"}


async def test_a_span_of_the_author_outside_of_any_call_is_sent_at_once(collector: Collector, sink: SpanSink) -> None:
    tracer = tracer_provider(sink, asyncio.get_running_loop()).get_tracer("author")
    await asyncio.to_thread(tracer.start_span("alone").end)

    assert (await only_span(collector)).name == "alone"
    assert trace.get_current_span() is trace.INVALID_SPAN


class Kept(logging.Handler):
    """Formats records where they are logged, as the host does."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter("test.kit"))
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


async def test_log_records_of_an_operation_say_which_call_they_belong_to(traced: Served, collector: Collector) -> None:
    kept = Kept()
    logging.getLogger("test.kit").addHandler(kept)
    try:
        await invoke(traced, "logs", text="hello", traceparent=SAMPLED, execution_id="01J", step_path="analyse/wind")
    finally:
        logging.getLogger("test.kit").removeHandler(kept)
    (line,) = kept.lines
    span = await only_span(collector)

    assert line["message"] == "hello"
    assert (line["trace_id"], line["span_id"]) == (TRACE, span.span_id.hex())
    assert (line["execution_id"], line["step_path"]) == ("01J", "analyse/wind")


async def test_a_span_that_holds_too_much_arrives_without_the_rest_and_says_so(
    traced: Served, collector: Collector, sink: SpanSink
) -> None:
    traced.kit.tracer = tracer_provider(sink, asyncio.get_running_loop()).get_tracer("author")
    result = await invoke(traced, "traces_much", traceparent=SAMPLED)
    spans = await collector.until(lambda spans: len(spans) == 2)

    assert json.loads(result.output.data) == "done"
    own = next(span for span in spans if span.name == "execute test.kit/traces_much")
    below = next(span for span in spans if span.name == "below")
    assert own.dropped_attributes_count == 600 - 128
    assert own.events[0].dropped_attributes_count == 6000 - 128
    assert below.parent_span_id == own.span_id
    assert "at most" in str(attributes_of(below)["forgemesh.span.cut"])
