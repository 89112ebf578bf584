"""The metrics of a process as readers get them, and readers who are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from forgemesh.chassis.metrics_endpoint import LONGEST_REQUEST, MOST_READERS, serving_metrics
from forgemesh.metrics.instrument import Meter
from forgemesh.metrics.metric import Kind, Metric

PATIENCE = 60.0
CALLS = Metric("mill.calls", Kind.COUNTER, "1", "Calls.", ("plugin",))
TIMES = Metric("mill.times", Kind.HISTOGRAM, "s", "Times.", (), (0.5, 2.0))
LOAD = Metric("mill.load", Kind.GAUGE, "1", "Load.")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def meter() -> Meter:
    made = Meter()
    made.counter(CALLS).add(3, ('a"b\\c\n',))
    made.histogram(TIMES).record(1.0, (), b"\x11" * 16)
    made.observe_one(LOAD, lambda: 0.25)
    return made


@pytest.fixture
async def address(meter: Meter) -> AsyncIterator[str]:
    async with serving_metrics(meter, "127.0.0.1:0") as found:
        yield found


async def told(address: str, request: bytes) -> bytes:
    """All that comes back until the connection ends."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            writer.write(request)
            return await reader.read()
    return b""


def asking(method: str = "GET", path: str = "/metrics", accept: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\n\r\n".encode()


async def body(address: str, request: bytes) -> str:
    head, _, text = (await told(address, request)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK"), head
    return text.decode()


async def test_prometheus_reads_all_kinds_of_metrics(address: str) -> None:
    families = {family.name: family for family in classic(await body(address, asking()))}

    assert [(s.labels, s.value) for s in families["mill_calls"].samples] == [({"plugin": 'a"b\\c\n'}, 3.0)]
    assert [s.value for s in families["mill_load"].samples] == [0.25]
    buckets = {s.labels.get("le", s.name): s.value for s in families["mill_times_seconds"].samples}
    assert buckets == {
        "0.5": 0.0,
        "2.0": 1.0,
        "+Inf": 1.0,
        "mill_times_seconds_count": 1.0,
        "mill_times_seconds_sum": 1.0,
    }
    assert "process_cpu_seconds" in families


async def test_openmetrics_carries_the_trace_of_an_example(address: str) -> None:
    told_of = openmetrics(await body(address, asking(accept=OPENMETRICS)))  # type: ignore[no-untyped-call]
    families = {family.name: family for family in told_of}

    examples = [sample.exemplar for sample in families["mill_times_seconds"].samples if sample.exemplar]
    assert [(one.labels, one.value) for one in examples] == [({"trace_id": "11" * 16}, 1.0)]


async def test_head_tells_the_length_alone(address: str) -> None:
    answer = await told(address, asking("HEAD"))

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (asking(path="/"), b"404"),
        (asking(path="/metrics/other"), b"404"),
        (asking("POST"), b"405"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"405"),
    ],
)
async def test_anything_else_is_refused_by_its_status(address: str, request_bytes: bytes, status: bytes) -> None:
    assert (await told(address, request_bytes)).split()[1] == status


@pytest.mark.parametrize("nonsense", [b"x" * (LONGEST_REQUEST * 4), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 64])
async def test_whoever_speaks_something_else_is_sent_away_and_others_are_served(address: str, nonsense: bytes) -> None:
    await told(address, nonsense)

    assert "mill_load 0.25" in await body(address, asking())


async def test_a_crowd_that_says_nothing_is_bounded_and_gone_in_time(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgemesh.chassis.metrics_endpoint.PATIENCE", 0.2)
    host, _, port = address.rpartition(":")
    crowd = [await asyncio.open_connection(host, int(port)) for _ in range(MOST_READERS * 3)]
    for reader, writer in crowd:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()

    assert "mill_load 0.25" in await body(address, asking())


async def test_an_instrument_that_fails_costs_one_answer_and_is_named(
    meter: Meter, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> float:
        raise ValueError("a stone is loose")

    meter.observe_one(Metric("mill.stones", Kind.GAUGE, "1", "Stones."), broken)

    text = await body(address, asking())
    assert "mill_load 0.25" in text
    assert "mill_stones" not in text
    assert "mill.stones" in caplog.text


async def test_a_port_that_is_taken_is_no_reason_not_to_work(
    meter: Meter, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_metrics(meter, address) as found:
        assert found == ""

    assert f"metrics cannot be read at {address}" in caplog.text


async def test_no_address_is_nowhere(meter: Meter) -> None:
    async with serving_metrics(meter, "") as found:
        assert found == ""
