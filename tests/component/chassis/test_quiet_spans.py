import pytest

from forgemesh.chassis import telemetry
from forgemesh.chassis.telemetry import BATCH
from tests.component.chassis.test_telemetry import Collector, add, collecting, sink_to, spans, until


async def test_a_span_that_ends_in_a_quiet_time_is_sent_soon_and_the_next_ones_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry, "INTERVAL", 1000.0)
    collector = Collector()
    async with collecting(collector) as address, sink_to(address) as sink:
        add(sink, spans(1))
        await collector.await_spans(1)
        add(sink, spans(2))
        await until(lambda: sink.counts.sent == 1)
        add(sink, spans(*range(3, BATCH + 2)))
        await collector.await_spans(1 + BATCH)

    assert [len(batch) for batch in collector.batches] == [1, BATCH]
