import sqlite3
from pathlib import Path

import grpc
import pytest

from forgemesh.api.traces.v1 import span_pb2
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.tracing import TraceNotFound
from forgemesh.traces.adapters import sqlite
from tests.component.traces.conftest import TraceStore
from tests.unit.traces import otlp


async def refusal(store: TraceStore, **key: str) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await store.get(**key)
    return from_rpc_error(refused.value)


async def whole_trace(store: TraceStore, **key: str) -> tuple[list[span_pb2.Span], int]:
    """All spans of a trace, and how many pages they took."""
    page = await store.get(**key)
    spans, pages = list(page.spans), 1
    while page.next_page_token:
        page = await store.get(**key, page_token=page.next_page_token)
        spans += page.spans
        pages += 1
    return spans, pages


async def test_a_trace_is_found_by_its_id_and_by_its_execution(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1, execution="x-1"), otlp.span(1, 2, 1), otlp.span(2, 3, execution="x-2"))

    by_id = await store.get(trace_id=otlp.trace_id(1).hex())
    by_execution = await store.get(execution_id="x-1")
    assert by_id == by_execution
    assert by_id.trace_id == otlp.trace_id(1).hex()
    assert len(by_id.spans) == 2


async def test_spans_come_by_start_and_then_by_id(store: TraceStore) -> None:
    await store.export(otlp.span(1, 3, start=5), otlp.span(1, 9, start=1), otlp.span(1, 2, start=5), otlp.span(1, 4))

    trace = await store.get(trace_id=otlp.trace_id(1).hex())
    assert [int(span.span_id, 16) for span in trace.spans] == [4, 9, 2, 3]


async def test_a_trace_shows_who_sent_each_span(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1), sender=otlp.resource("forgemesh-orchestrator", "o-1"))
    await store.export(otlp.span(1, 2, 1, start=1), sender=otlp.resource("weather.stats", "weather.stats-2"))

    trace = await store.get(trace_id=otlp.trace_id(1).hex())
    assert [(span.service, span.service_instance) for span in trace.spans] == [
        ("forgemesh-orchestrator", "o-1"),
        ("weather.stats", "weather.stats-2"),
    ]


async def test_a_trace_that_nobody_sent_is_not_found(store: TraceStore) -> None:
    by_id = await refusal(store, trace_id="ab" * 16)
    by_execution = await refusal(store, execution_id="x-9")

    assert isinstance(by_id, TraceNotFound)
    assert by_id.metadata == {"key": "ab" * 16}
    assert isinstance(by_execution, TraceNotFound)
    assert by_execution.metadata == {"key": "x-9"}


@pytest.mark.parametrize("key", [{"trace_id": "xyz"}, {"trace_id": ""}, {"execution_id": ""}, {}])
async def test_a_request_without_a_usable_key_is_refused(store: TraceStore, key: dict[str, str]) -> None:
    fault = await refusal(store, **key)

    assert isinstance(fault, InvalidRequest)


async def test_a_page_token_of_a_list_does_not_fit_a_trace(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1), otlp.span(2, 1))
    token = (await store.list(page_size=1)).next_page_token

    fault = await refusal(store, trace_id=otlp.trace_id(1).hex(), page_token=token)

    assert isinstance(fault, InvalidRequest)


async def test_a_large_trace_comes_in_pages_without_gap_or_repetition(store: TraceStore) -> None:
    text = {"text": "x" * 4000}
    for start in range(0, 1500, 500):
        numbers = range(start + 1, start + 501)
        await store.export(*(otlp.span(1, number, start=number // 7, attributes=text) for number in numbers))

    spans, pages = await whole_trace(store, trace_id=otlp.trace_id(1).hex())

    assert [int(span.span_id, 16) for span in spans] == list(range(1, 1501))
    assert pages == 1 + 1500 * spans[0].ByteSize() // sqlite.PAGE_BYTES


async def test_a_span_of_the_largest_size_can_be_read(store: TraceStore) -> None:
    message = otlp.span(1, 1, attributes={f"key-{number}": "\x01" * 4096 for number in range(31)})
    await store.export(message)

    trace = await store.get(trace_id=otlp.trace_id(1).hex())

    assert len(trace.spans[0].attributes) == 31


async def test_traces_are_listed_newest_first_in_one_line_each(store: TraceStore) -> None:
    await store.export(
        otlp.span(1, 2, 1, name="validate", start=0, failed=True, execution="x-1"),
        otlp.span(2, 1, name="run workflow b", start=50, length=200, execution="x-2"),
    )
    await store.export(otlp.span(1, 1, name="run workflow a", start=0, length=100, execution="x-1"))

    newest, oldest = await store.summaries()

    assert (newest.trace_id, newest.execution_id, newest.name) == (otlp.trace_id(2).hex(), "x-2", "run workflow b")
    assert (oldest.execution_id, oldest.name) == ("x-1", "run workflow a")
    assert (oldest.spans, oldest.errors) == (2, 1)
    assert oldest.start_unix_nano == otlp.START
    assert oldest.end_unix_nano == otlp.START + 100 * otlp.MILLISECOND


async def test_a_trace_that_turns_out_to_begin_earlier_moves_in_the_list(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1, start=10), otlp.span(2, 1, start=5))

    await store.export(otlp.span(1, 2, start=1))

    assert [summary.trace_id for summary in await store.summaries()] == [otlp.trace_id(2).hex(), otlp.trace_id(1).hex()]


async def test_a_trace_without_an_execution_is_listed_too(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1))

    assert [summary.execution_id for summary in await store.summaries()] == [""]


async def test_an_execution_that_is_named_late_still_leads_to_its_trace(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1))
    await store.export(otlp.span(1, 2, execution="x-1"))

    assert (await store.get(execution_id="x-1")).trace_id == otlp.trace_id(1).hex()
    assert [summary.execution_id for summary in await store.summaries()] == ["x-1"]


async def test_a_caller_may_have_several_executions_in_one_trace(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1, execution="x-1"))
    await store.export(otlp.span(1, 2, execution="x-2"), otlp.span(1, 3, execution="x-3"))

    traces = {(await store.get(execution_id=execution)).trace_id for execution in ("x-1", "x-2", "x-3")}
    assert traces == {otlp.trace_id(1).hex()}
    assert [summary.execution_id for summary in await store.summaries()] == ["x-1"]


async def test_an_execution_in_two_traces_is_looked_up_in_the_later_one(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1, execution="x-1"))
    await store.export(otlp.span(2, 1, execution="x-1"))

    assert (await store.get(execution_id="x-1")).trace_id == otlp.trace_id(2).hex()


async def test_the_list_comes_in_pages_without_gap_or_repetition(store: TraceStore) -> None:
    await store.export(*(otlp.span(trace, 1, start=trace // 3) for trace in range(1, 24)))

    seen: list[int] = []
    page = await store.list(page_size=5)
    seen += [int(summary.trace_id, 16) for summary in page.traces]
    while page.next_page_token:
        page = await store.list(page_size=5, page_token=page.next_page_token)
        seen += [int(summary.trace_id, 16) for summary in page.traces]

    assert seen == list(range(23, 0, -1))


async def test_the_last_page_says_so_even_if_it_is_full(store: TraceStore) -> None:
    await store.export(otlp.span(1, 1), otlp.span(2, 1))

    page = await store.list(page_size=2)

    assert len(page.traces) == 2
    assert page.next_page_token == ""


async def test_a_negative_page_size_is_refused(store: TraceStore) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await store.list(page_size=-1)

    assert isinstance(from_rpc_error(refused.value), InvalidRequest)


def test_no_query_reads_through_a_whole_table(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    connection = sqlite3.connect(tmp_path / "plan.db")
    request.addfinalizer(connection.close)
    connection.executescript(sqlite.MIGRATIONS[0])
    queries = {
        sqlite._SPANS: (b"", 0, b""),
        sqlite._TRACE_OF: ("x",),
        sqlite._NEWEST: (0, b"", 1),
        sqlite._RESOURCE: (b"",),
        f"{sqlite._KNOWN} (?, ?)": (b"", b""),
        **dict.fromkeys(sqlite._REMOVE, (1,)),
    }

    for query, values in queries.items():
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        assert not [step for step in plan if step.startswith("SCAN")], (query, plan)
    connection.close()
