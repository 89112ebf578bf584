"""Spans that are too large, and what a collector refuses: neither holds up the others."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis.span_limit import MAX_SPAN
from forgemesh.chassis.telemetry import SpanCounts, set_attributes
from tests.component.chassis.test_telemetry import PATIENCE, Collector, collecting, sink_to


def large_span() -> Span:
    """More than a message carries, in every place that has a length."""
    span = Span(name="n" * 100_000, trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1, end_time_unix_nano=2)
    span.status.message = "m" * 1_000_000
    for number in range(3):
        span.attributes.append(KeyValue(key=f"text {number}", value=AnyValue(string_value="x" * 2_000_000)))
    many = ArrayValue(values=[AnyValue(string_value="y" * 2_000_000)])
    span.attributes.append(KeyValue(key="many", value=AnyValue(array_value=many)))
    for number in range(2000):
        set_attributes(span.events.add(name=f"event {number}"), {"text": "z" * 4000})
        set_attributes(span.links.add(trace_id=b"t" * 16, span_id=b"l" * 8), {"text": "z" * 100})
    return span


async def test_a_span_that_no_message_carries_is_shortened_says_so_and_holds_up_no_other() -> None:
    collector = Collector()
    async with collecting(collector) as address, sink_to(address) as sink:
        for span in (Span(name="before"), large_span(), Span(name="behind")):
            sink.add(span)
        await collector.await_spans(3)

    before, short, behind = (span for batch in collector.batches for span in batch)
    assert (before.name, behind.name) == ("before", "behind")
    assert (short.trace_id, short.span_id, short.end_time_unix_nano) == (b"t" * 16, b"s" * 8, 2)
    kept = {pair.key: pair.value.string_value for pair in short.attributes}
    assert kept["text 2"] == "x" * 4096
    assert "at most 1,048,576 are sent" in kept["forgemesh.span.cut"]
    assert short.dropped_attributes_count == 1
    assert short.dropped_events_count == 2000 - len(short.events)
    assert 0 < len(short.events) < 2000
    assert len(short.links) == 2000
    assert short.ByteSize() <= MAX_SPAN
    assert sink.counts == SpanCounts(added=3, sent=3)


async def test_a_batch_that_a_collector_refuses_for_its_size_does_not_hold_up_the_next_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector = Collector()
    async with collecting(collector, limit=64 * 1024) as address, sink_to(address) as sink:
        sink.add(Span(name="l" * 100_000))
        async with asyncio.timeout(PATIENCE):
            while not sink.counts.lost:
                await asyncio.sleep(0.001)
        sink.add(Span(name="small"))
        await collector.await_spans(1)

    assert collector.names() == {"small": 1}
    assert sink.counts == SpanCounts(added=2, sent=1, lost=1)
    assert "takes no spans (RESOURCE_EXHAUSTED" in caplog.text


async def test_what_a_collector_refuses_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector(refused=1, reason="no place for it")
    async with collecting(collector) as address, sink_to(address) as sink:
        sink.add(Span(name="a"))
        await collector.await_spans(1)

    assert sink.counts.lost == 1
    assert "refused 1 of 1 spans: no place for it" in caplog.text
