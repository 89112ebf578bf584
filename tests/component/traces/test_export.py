import asyncio

import grpc
import pytest

from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.telemetry import exporting_spans
from tests.component.traces.conftest import TraceStore
from tests.unit.traces import otlp


async def test_a_span_can_be_read_as_soon_as_its_export_is_answered(store: TraceStore) -> None:
    answer = await store.export(otlp.span(1, 1, name="read"))

    trace = await store.get(trace_id=otlp.trace_id(1).hex())
    assert [span.name for span in trace.spans] == ["read"]
    assert answer.partial_success.rejected_spans == 0


async def test_a_malformed_span_does_not_fail_its_batch(store: TraceStore) -> None:
    malformed = otlp.span(1, 2)
    malformed.span_id = b"short"

    answer = await store.export(otlp.span(1, 1), malformed, otlp.span(1, 3))

    assert answer.partial_success.rejected_spans == 1
    assert len((await store.get(trace_id=otlp.trace_id(1).hex())).spans) == 2


async def test_a_span_that_holds_too_much_of_something_does_not_fail_its_batch(store: TraceStore) -> None:
    laden, full = otlp.span(1, 2), otlp.span(1, 4)
    for span, count in ((laden, 501), (full, 500)):
        for number in range(count - len(span.attributes)):
            span.attributes.add(key=str(number))

    answer = await store.export(otlp.span(1, 1), laden, otlp.span(1, 3), full)

    assert answer.partial_success.rejected_spans == 1
    assert "more than 500 of opentelemetry.proto.trace.v1.Span.attributes" in answer.partial_success.error_message
    assert len((await store.get(trace_id=otlp.trace_id(1).hex())).spans) == 3


async def test_a_batch_of_malformed_spans_alone_is_answered_too(store: TraceStore) -> None:
    malformed = otlp.span(1, 2)
    malformed.trace_id = b""

    answer = await store.export(malformed)

    assert answer.partial_success.rejected_spans == 1
    assert await store.summaries() == []


async def test_the_same_span_again_replaces_the_first_one(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1, name="work", failed=True), otlp.span(1, 2, start=1))

    await store.export(otlp.span(1, 1, name="work", length=500))

    trace = await store.get(trace_id=otlp.trace_id(1).hex())
    assert [(span.end_unix_nano - span.start_unix_nano) // otlp.MILLISECOND for span in trace.spans] == [500, 10]
    (summary,) = await store.summaries()
    assert (summary.spans, summary.errors) == (2, 0)
    assert summary.end_unix_nano == otlp.START + 500 * otlp.MILLISECOND


async def test_a_span_twice_in_one_batch_is_one_span_and_the_later_one_wins(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1, name="earlier"), otlp.span(1, 1, name="later"))

    trace = await store.get(trace_id=otlp.trace_id(1).hex())
    assert [span.name for span in trace.spans] == ["later"]
    assert [(summary.name, summary.spans) for summary in await store.summaries()] == [("later", 1)]


async def test_a_batch_that_is_sent_again_changes_nothing(store: TraceStore) -> None:
    batch = [otlp.span(trace, number, failed=number == 3) for trace in (1, 2) for number in (1, 2, 3)]
    await store.export(*batch)
    before = await store.summaries()

    await store.export(*batch)

    assert await store.summaries() == before
    assert len((await store.get(trace_id=otlp.trace_id(1).hex())).spans) == 3


async def test_senders_at_the_same_time_lose_nothing(store: TraceStore) -> None:
    batches = [[otlp.span(trace, 100 * sender + trace) for trace in range(1, 9)] for sender in range(1, 33)]

    await asyncio.gather(*(store.export(*batch, sender=otlp.resource(f"s-{batch[0]}")) for batch in batches))

    assert [summary.spans for summary in await store.summaries()] == [32] * 8


async def test_every_span_of_a_busy_process_arrives(store: TraceStore) -> None:
    async with exporting_spans("weather.stats", "weather.stats-1", store.address, version="1.2.0") as sink:
        for number in range(1, 5001):
            sink.add(otlp.span(1 + number % 50, number, execution=f"x-{number % 50}"))

    assert (sink.counts.sent, sink.counts.lost) == (5000, 0)
    summaries = await store.summaries()
    assert [summary.spans for summary in summaries] == [100] * 50


async def test_a_batch_as_large_as_a_message_may_be_is_taken(store: TraceStore) -> None:
    text = {"text": "x" * 4000}
    spans = [otlp.span(1, number, attributes=text) for number in range(1, 1001)]
    assert SESSION_LIMIT * 0.95 < otlp.request(spans).ByteSize() < SESSION_LIMIT

    await store.export(*spans)

    (summary,) = await store.summaries()
    assert summary.spans == 1000


async def test_a_batch_beyond_that_is_refused(store: TraceStore) -> None:
    large = {"text": "x" * 4000}

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await store.export(*(otlp.span(1, number, attributes=large) for number in range(1, 1100)))

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_batch_of_as_many_traces_as_there_may_be_spans_is_taken_and_one_more_is_refused(
    store: TraceStore,
) -> None:
    await store.export(*(otlp.span(trace, 1) for trace in range(1, 10_001)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await store.export(*(otlp.span(trace, 1) for trace in range(1, 10_002)))

    trace = await store.get(trace_id=otlp.trace_id(10_000).hex())
    assert len(trace.spans) == 1
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "scope_spans[0].spans: there are 10,001 of them" in (refused.value.details() or "")
