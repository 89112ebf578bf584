from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.traces import codec
from forgemesh.traces.adapters.sqlite import MIGRATIONS, SqliteSpanStore
from forgemesh.traces.application import Traces
from forgemesh.traces.domain.retention import Retention
from tests.manual_clock import ManualClock
from tests.unit.traces import otlp

AGE, SPANS = 100.0, 10


@dataclass
class Kept:
    """The use cases over a database, with a clock that the test moves."""

    database: Database
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        store = SqliteSpanStore(self.database)
        self.traces = Traces(store, clock=self.clock.wall, retention=Retention(AGE, SPANS))

    async def record(self, *spans: Span, sender: Resource | None = None) -> None:
        deliveries, _ = codec.deliveries_of(otlp.request(spans, sender=sender))
        await self.traces.record(deliveries)

    async def left(self) -> list[int]:
        found, _ = await self.traces.newest(None, 500)
        return sorted(int.from_bytes(summary.trace_id, "big") for summary in found)

    async def rows(self, table: str) -> int:
        return await self.database.read(
            lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        )


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    async with open_database(tmp_path / "traces.db", MIGRATIONS, synchronous="NORMAL") as database:
        yield Kept(database)


async def test_a_trace_goes_once_its_newest_span_is_too_old(kept: Kept) -> None:
    await kept.record(otlp.span(1, 1))
    kept.clock.advance(AGE / 2)
    await kept.record(otlp.span(2, 1))
    kept.clock.advance(AGE / 2 + 1)

    await kept.traces.sweep()

    assert await kept.left() == [2]


async def test_a_trace_that_still_grows_stays_whole(kept: Kept) -> None:
    await kept.record(otlp.span(1, 1))
    kept.clock.advance(AGE)
    await kept.record(otlp.span(1, 2))
    kept.clock.advance(AGE / 2)

    await kept.traces.sweep()

    spans, _ = await kept.traces.trace(otlp.trace_id(1), None)
    assert len(spans) == 2


async def test_the_age_is_counted_from_arrival_so_that_wrong_clocks_do_not_matter(kept: Kept) -> None:
    ancient = otlp.span(1, 1)
    ancient.start_time_unix_nano = ancient.end_time_unix_nano = 1
    await kept.record(ancient)

    await kept.traces.sweep()

    assert await kept.left() == [1]


async def test_the_first_come_traces_go_when_there_are_too_many_spans(kept: Kept) -> None:
    for trace in range(1, 6):
        await kept.record(*(otlp.span(trace, number) for number in range(1, 4)))

    await kept.traces.sweep()

    assert await kept.left() == [3, 4, 5]
    assert await kept.rows("span") <= SPANS


async def test_as_many_spans_as_are_allowed_stay(kept: Kept) -> None:
    await kept.record(*(otlp.span(trace, 1) for trace in range(1, SPANS + 1)))

    await kept.traces.sweep()

    assert await kept.rows("span") == SPANS


async def test_a_trace_that_alone_is_too_large_goes_too(kept: Kept) -> None:
    await kept.record(*(otlp.span(1, number) for number in range(1, SPANS + 2)))

    await kept.traces.sweep()

    assert await kept.left() == []


async def test_nothing_of_a_trace_that_went_is_left_behind(kept: Kept) -> None:
    await kept.record(otlp.span(1, 1, execution="x-1"), sender=otlp.resource("gone", "gone-1"))
    kept.clock.advance(AGE * 2)
    await kept.record(otlp.span(2, 1, execution="x-2"), sender=otlp.resource("here", "here-1"))

    await kept.traces.sweep()

    assert [await kept.rows(table) for table in ("trace", "span", "execution", "resource")] == [1, 1, 1, 1]


async def test_a_resource_stays_while_a_trace_that_still_grows_needs_it(kept: Kept) -> None:
    await kept.record(otlp.span(1, 1), sender=otlp.resource("early", "early-1"))
    for number in range(2, 5):
        kept.clock.advance(AGE)
        await kept.record(otlp.span(1, number), sender=otlp.resource("late", "late-1"))

    await kept.traces.sweep()

    spans, _ = await kept.traces.trace(otlp.trace_id(1), None)
    assert [span.service for span in codec.to_spans(spans)] == ["early", "late", "late", "late"]


async def test_a_sweep_of_many_traces_takes_several_short_transactions(kept: Kept) -> None:
    for start in range(1, 10_000, 1_000):
        await kept.record(*(otlp.span(trace, 1) for trace in range(start, start + 1_000)))
    kept.clock.advance(AGE + 1)
    before = sum(kept.database.commits.series[()].counts)

    await kept.traces.sweep()

    assert await kept.left() == []
    assert sum(kept.database.commits.series[()].counts) - before >= 10_000 / 2_000


async def test_a_sweep_with_nothing_to_do_leaves_everything(kept: Kept) -> None:
    await kept.traces.sweep()
    await kept.record(otlp.span(1, 1))

    await kept.traces.sweep()

    assert await kept.left() == [1]
