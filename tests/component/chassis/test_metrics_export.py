"""Metrics by OTLP: what a collector hears, and collectors that hear nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric as Message

from forgemesh.chassis.metrics_export import sending_metrics
from forgemesh.metrics.instrument import Meter
from forgemesh.metrics.metric import Kind, Metric

PATIENCE = 60.0
CALLS = Metric("mill.calls", Kind.COUNTER, "1", "Calls.", ("plugin",))
TIMES = Metric("mill.times", Kind.HISTOGRAM, "s", "Times.", (), (0.5, 2.0))
LOAD = Metric("mill.load", Kind.GAUGE, "1", "Load.")


class Collector(MetricsServiceServicer):
    def __init__(self) -> None:
        self.heard: asyncio.Queue[ExportMetricsServiceRequest] = asyncio.Queue()

    async def Export(
        self, request: ExportMetricsServiceRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> ExportMetricsServiceResponse:
        self.heard.put_nowait(request)
        return ExportMetricsServiceResponse()


@contextlib.asynccontextmanager
async def listening(collector: Collector | None) -> AsyncIterator[str]:
    server = grpc.aio.server()
    if collector is not None:
        add_MetricsServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def metrics_of(request: ExportMetricsServiceRequest) -> dict[str, Message]:
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


async def heard(collector: Collector) -> ExportMetricsServiceRequest:
    async with asyncio.timeout(PATIENCE):
        return await collector.heard.get()


@pytest.fixture
def meter() -> Meter:
    made = Meter()
    made.observe_one(LOAD, lambda: 0.25)
    made.histogram(TIMES).record(1.0, (), b"\x11" * 16)
    return made


async def test_a_collector_hears_all_kinds_again_and_again(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    collector, calls = Collector(), meter.counter(CALLS)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    async with listening(collector) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
        async with sending_metrics(meter, "mill", "m-1", version="1.2.3"):
            first = await heard(collector)
            calls.add(3, ("a",))
            later = await heard(collector)
            while not metrics_of(later)["mill.calls"].sum.data_points:
                later = await heard(collector)

    resource = {pair.key: pair.value.string_value for pair in first.resource_metrics[0].resource.attributes}
    assert (resource["service.name"], resource["service.instance.id"]) == ("mill", "m-1")
    found = metrics_of(later)
    assert found["mill.load"].gauge.data_points[0].as_double == 0.25
    (point,) = found["mill.times"].histogram.data_points
    assert (list(point.bucket_counts), list(point.explicit_bounds), point.sum) == ([0, 1, 0], [0.5, 2.0], 1.0)
    assert [one.trace_id for one in point.exemplars] == [b"\x11" * 16]
    total = found["mill.calls"].sum
    assert (total.is_monotonic, total.data_points[0].as_double) == (True, 3.0)
    assert total.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert [(pair.key, pair.value.string_value) for pair in total.data_points[0].attributes] == [("plugin", "a")]


async def test_what_was_measured_last_is_sent_at_the_end(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    async with listening(collector) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:1")
        async with sending_metrics(meter, "mill", "m-1", version="1.2.3"):
            meter.counter(CALLS).add(7, ("a",))

    assert metrics_of(await heard(collector))["mill.calls"].sum.data_points[0].as_double == 7.0


@pytest.mark.parametrize("there", [True, False], ids=["that takes none", "that is away"])
async def test_a_collector_changes_nothing_but_a_line_in_the_log(
    there: bool, meter: Meter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(None) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address if there else "127.0.0.1:1")
        monkeypatch.setattr("forgemesh.chassis.metrics_export.SEND_DEADLINE", 1.0)
        for _ in range(2):
            async with sending_metrics(meter, "mill", "m-1", version="1.2.3"):
                pass

    assert [record.levelname for record in caplog.records if "takes no metrics" in record.getMessage()] == [
        "WARNING"
    ] * 2


@pytest.mark.parametrize("interval", ["soon", "-5", "1e400", "0"])
async def test_a_senseless_interval_is_named(
    interval: str, meter: Meter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector()
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    async with listening(collector) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        async with sending_metrics(meter, "mill", "m-1", version="1.2.3"):
            await asyncio.wait_for(_named(interval, caplog), PATIENCE)


async def _named(interval: str, caplog: pytest.LogCaptureFixture) -> None:
    while f"OTEL_METRIC_EXPORT_INTERVAL = {interval!r}" not in caplog.text:
        await asyncio.sleep(0)
