from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp, trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis import telemetry
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.server import Listen, serving
from forgemesh.chassis.telemetry import BATCH, SpanSink, exporting_spans, set_attributes
from tests.free_ports import free_addresses

PATIENCE = 180.0


@dataclass
class Collector(otlp_grpc.TraceServiceServicer):
    """Notes what it is sent; `before` runs before an export is noted, `after` before it is answered."""

    batches: list[list[Span]] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    before: Callable[[Any], Awaitable[None]] | None = None
    after: Callable[[Any], Awaitable[None]] | None = None
    refused: int = 0
    reason: str = ""
    _noted: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def Export(self, request: otlp.ExportTraceServiceRequest, context: Any) -> otlp.ExportTraceServiceResponse:
        if self.before is not None:
            await self.before(context)
        (sent,) = request.resource_spans
        async with self._noted:
            self.batches.append(list(sent.scope_spans[0].spans))
            self.resources.append({pair.key: pair.value.string_value for pair in sent.resource.attributes})
            self._noted.notify_all()
        if self.after is not None:
            await self.after(context)
        answer = otlp.ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = self.refused
        answer.partial_success.error_message = self.reason
        return answer

    def names(self) -> Counter[str]:
        return Counter(span.name for batch in self.batches for span in batch)

    async def await_spans(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE), self._noted:
            await self._noted.wait_for(lambda: sum(map(len, self.batches)) >= number)


@contextlib.asynccontextmanager
async def collecting(
    collector: Collector, address: str = "127.0.0.1:0", limit: int = SESSION_LIMIT
) -> AsyncIterator[str]:
    """The collector as a server, which takes messages of at most `limit` bytes; yields its address."""
    listen = Listen(address=address, health_address="127.0.0.1:0", receive_limit=limit, grace=0.1)

    def add(server: grpc.aio.Server) -> None:
        otlp_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]

    async with serving(listen, [], add) as server:
        yield server.address


@contextlib.asynccontextmanager
async def sink_to(address: str, **arguments: Any) -> AsyncIterator[SpanSink]:
    async with exporting_spans("mill", "mill-1", address, version="1.0.0", **arguments) as sink:
        yield sink


def free_address() -> str:
    return free_addresses(1)[0]


def spans(*numbers: int, text: str = "") -> list[Span]:
    made = [
        Span(trace_id=b"\x01" * 16, span_id=number.to_bytes(8, "big"), name=str(number), start_time_unix_nano=1)
        for number in numbers
    ]
    for span in made:
        set_attributes(span, {"text": text})
    return made


def add(sink: SpanSink, made: list[Span]) -> None:
    for span in made:
        sink.add(span)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def test_spans_are_sent_together_soon_after_the_first_of_them() -> None:
    collector = Collector()
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(10)))
        await collector.await_spans(10)
        await until(lambda: sink.counts.sent == 10)

    assert [len(batch) for batch in collector.batches] == [10]
    assert (sink.counts.added, sink.counts.lost) == (10, 0)


async def test_a_full_batch_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "INTERVAL", 1000.0)
    collector = Collector()
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(BATCH)))
        await collector.await_spans(BATCH)

    assert [len(batch) for batch in collector.batches] == [BATCH]


async def test_every_batch_says_whose_spans_they_are() -> None:
    collector = Collector()
    async with collecting(collector) as address, sink_to(address, attributes={"k8s.pod.name": "mill-abc"}) as sink:
        add(sink, spans(1))

    (resource,) = collector.resources
    assert (resource["service.name"], resource["service.instance.id"]) == ("mill", "mill-1")
    assert (resource["service.version"], resource["k8s.pod.name"]) == ("1.0.0", "mill-abc")


async def test_a_burst_of_20000_spans_arrives_in_order_and_without_loss() -> None:
    collector = Collector()
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(20_000)))
        await collector.await_spans(20_000)

    names = [span.name for batch in collector.batches for span in batch]
    assert names == [str(number) for number in range(20_000)]
    assert max(map(len, collector.batches)) == BATCH
    assert (sink.counts.added, sink.counts.sent, sink.counts.lost) == (20_000, 20_000, 0)


async def test_what_is_queued_when_the_block_ends_is_sent_before_it_returns() -> None:
    collector = Collector()
    async with collecting(collector) as address:
        async with sink_to(address) as sink:
            add(sink, spans(*range(1300)))

        assert sum(collector.names().values()) == 1300

    assert (sink.counts.sent, sink.counts.lost) == (1300, 0)


async def test_a_block_that_is_cancelled_sends_its_spans_too() -> None:
    collector = Collector()
    inside = asyncio.Event()

    async def work(address: str) -> None:
        async with sink_to(address) as sink:
            add(sink, spans(1, 2))
            inside.set()
            await asyncio.Event().wait()

    async with collecting(collector) as address:
        working = asyncio.create_task(work(address))
        await inside.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    assert collector.names() == {"1": 1, "2": 1}


async def test_a_block_that_fails_sends_its_spans_and_fails_as_it_is() -> None:
    async def work(address: str) -> None:
        async with sink_to(address) as sink:
            add(sink, spans(1))
            raise ValueError("worn out")

    collector = Collector()
    async with collecting(collector) as address:
        with pytest.raises(ValueError, match="worn out"):
            await work(address)

    assert collector.names() == {"1": 1}


async def test_an_export_under_way_when_the_block_ends_is_neither_cut_nor_repeated() -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def hold(context: Any) -> None:
        arrived.set()
        await answer.wait()

    collector = Collector(after=hold)
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(BATCH)))
        await arrived.wait()
        add(sink, spans(*range(BATCH, BATCH + 10)))
        asyncio.get_running_loop().call_later(0.05, answer.set)

    assert set(collector.names().values()) == {1}
    assert (sink.counts.sent, sink.counts.lost) == (BATCH + 10, 0)


async def test_spans_that_come_during_an_export_leave_together_after_it() -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def hold(context: Any) -> None:
        arrived.set()
        await answer.wait()

    collector = Collector(after=hold)
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(BATCH)))
        await arrived.wait()
        for number in range(100):
            add(sink, spans(BATCH + number))
            await asyncio.sleep(0)
        answer.set()
        await collector.await_spans(BATCH + 100)

    assert [len(batch) for batch in collector.batches] == [BATCH, 100]


async def test_spans_wait_for_a_collector_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    address, collector = free_address(), Collector()
    async with sink_to(address) as sink:
        add(sink, spans(*range(700)))
        await until(lambda: "takes no spans" in caplog.text)
        async with collecting(collector, address):
            await collector.await_spans(700)
            await until(lambda: sink.counts.sent == 700)

    assert set(collector.names().values()) == {1}
    assert sink.counts.lost == 0


async def test_a_collector_that_is_away_and_back_is_noted_once_each(caplog: pytest.LogCaptureFixture) -> None:
    address = free_address()
    with caplog.at_level(logging.INFO, logger="forgemesh.chassis.telemetry"):
        async with sink_to(address) as sink:
            add(sink, spans(1))
            await until(lambda: "takes no spans" in caplog.text)
            async with collecting(Collector(), address):
                await until(lambda: sink.counts.sent == 1)

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith(f"{address} takes no spans (UNAVAILABLE")
    assert messages[1] == f"{address} takes spans again"


async def test_a_batch_whose_answer_was_lost_is_sent_again() -> None:
    async def lose_the_first_answer(context: Any) -> None:
        if len(collector.batches) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the line broke")

    collector = Collector(after=lose_the_first_answer)
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(1, 2))
        await until(lambda: sink.counts.sent == 2)

    assert collector.names() == {"1": 2, "2": 2}
    assert (sink.counts.added, sink.counts.lost) == (2, 0)


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED])
async def test_a_batch_that_is_refused_for_good_is_counted_and_does_not_hold_up_the_next(code: grpc.StatusCode) -> None:
    async def refuse_the_first(context: Any) -> None:
        if not refused:
            refused.append(True)
            await context.abort(code, "not this one")

    refused: list[bool] = []
    collector = Collector(before=refuse_the_first)
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(BATCH)))
        await until(lambda: sink.counts.lost == BATCH)
        add(sink, spans(BATCH))
        await collector.await_spans(1)

    assert (sink.counts.added, sink.counts.sent, sink.counts.lost) == (BATCH + 1, 1, BATCH)


async def test_spans_that_the_collector_leaves_out_of_a_batch_are_lost() -> None:
    collector = Collector(refused=3)
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(*range(10)))

    assert (sink.counts.sent, sink.counts.lost) == (7, 3)


async def test_spans_beyond_the_queue_are_lost_and_counted_and_their_maker_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry, "QUEUE_LIMIT", 100)
    address, collector = free_address(), Collector()
    async with sink_to(address) as sink:
        add(sink, spans(*range(150)))
        async with collecting(collector, address):
            await collector.await_spans(100)
            await until(lambda: sink.counts.sent == 100)

    assert sorted(map(int, collector.names())) == list(range(100))
    assert (sink.counts.added, sink.counts.sent, sink.counts.lost) == (150, 100, 50)


async def test_a_collector_that_is_gone_does_not_hold_up_the_end() -> None:
    async with asyncio.timeout(60), sink_to(free_address()) as sink:
        add(sink, spans(*range(5)))

    assert (sink.counts.sent, sink.counts.lost) == (0, 5)


async def test_a_collector_that_hangs_holds_up_the_end_no_longer_than_patience() -> None:
    async def hang(context: Any) -> None:
        await asyncio.Event().wait()

    async with (
        collecting(Collector(before=hang)) as address,
        asyncio.timeout(60),
        sink_to(address, patience=0.2) as sink,
    ):
        add(sink, spans(*range(5)))

    assert (sink.counts.sent, sink.counts.lost) == (0, 5)


async def test_a_second_collector_gets_everything_too(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Collector(), Collector()
    async with collecting(first) as near, collecting(second) as far:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{far}")
        async with sink_to(near) as sink:
            add(sink, spans(*range(600)))

    assert first.names() == second.names() == Counter(map(str, range(600)))
    assert (sink.counts.added, sink.counts.sent, sink.counts.lost) == (600, 600, 0)


async def test_a_second_collector_that_is_gone_does_not_hold_up_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{free_address()}")
    collector = Collector()
    async with collecting(collector) as near, sink_to(near) as sink:
        for start in (0, 1000, 2000):
            add(sink, spans(*range(start, start + 1000)))
            await collector.await_spans(start + 1000)
        await until(lambda: sink.counts.sent == 3000)

    assert (sink.counts.added, sink.counts.sent, sink.counts.lost) == (3000, 3000, 3000)


async def test_without_a_collector_spans_are_let_go() -> None:
    marks: list[object] = []
    async with sink_to("") as sink:
        sink.sent.add(marks.append)
        sink.add(spans(1)[0], "mark")

    assert (sink.counts.added, sink.counts.sent, sink.counts.lost) == (1, 1, 0)
    assert marks == ["mark"]


async def test_the_mark_of_the_last_span_of_every_batch_is_told_once_that_is_taken() -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()
    marks: list[object] = []

    async def hold(context: Any) -> None:
        arrived.set()
        await answer.wait()

    async with collecting(Collector(after=hold)) as address, sink_to(address) as sink:
        sink.sent.add(marks.append)
        for number, span in enumerate(spans(*range(BATCH + 10))):
            sink.add(span, number)
        await arrived.wait()
        before = list(marks)
        answer.set()

    assert before == []
    assert marks == [BATCH - 1, BATCH + 9]


async def test_a_batch_that_is_too_large_for_a_message_is_divided() -> None:
    collector = Collector()
    async with collecting(collector) as address, sink_to(address) as sink:
        large = spans(*range(BATCH), text="x" * 4096)
        for span in large:
            set_attributes(span, {f"text-{number}": "x" * 4096 for number in range(3)})
        add(sink, large)

    assert collector.names() == Counter(map(str, range(BATCH)))
    assert len(collector.batches) > 1
    assert (sink.counts.sent, sink.counts.lost) == (BATCH, 0)
