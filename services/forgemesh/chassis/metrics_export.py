"""The metrics of a process on their way to a collector, as OTLP has them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable
from itertools import starmap
from typing import TYPE_CHECKING

import grpc

from forgemesh.chassis.channel import connect
from forgemesh.chassis.containment import contained
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.telemetry import SEND_DEADLINE, attribute, endpoints, resource_of
from forgemesh.metrics.instrument import Distribution, Histogram, Instrument, Labels, Meter
from forgemesh.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.metrics.v1 import metrics_pb2
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

_log = logging.getLogger(__name__)

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
INTERVAL = 60.0
"""Seconds between two exports, unless OTEL_METRIC_EXPORT_INTERVAL says how many milliseconds."""
SHORTEST, LONGEST = 0.1, 86_400.0


@contextlib.asynccontextmanager
async def sending_metrics(meter: Meter, service: str, instance: str, *, version: str) -> AsyncIterator[None]:
    """
    Send all metrics to OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or, if only that is set, OTEL_EXPORTER_OTLP_ENDPOINT, again
    and again while the block runs, and once more at its end. A collector that is away or takes none changes nothing.
    """
    told = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    found = endpoints(told)
    if not found:
        yield
        return
    sender = _Sender(meter, resource_of(service, instance, version), found[0])
    async with beside(lasting(f"the sending of metrics to {found[0]}", sender.run)):
        try:
            yield
        finally:
            await sender.send_last()


class _Sender:
    def __init__(self, meter: Meter, resource: Resource, endpoint: str) -> None:
        self._meter = meter
        self._resource = resource
        self._endpoint = endpoint
        self._began = time.time_ns()
        self._failing = False

    async def run(self) -> None:
        """Send until cancelled."""
        interval = _interval()
        async with connect(self._endpoint, keepalive=False) as channel:
            while True:
                await asyncio.sleep(interval)
                await self._send(channel)

    async def send_last(self) -> None:
        """What there is at the end of the process."""
        async with connect(self._endpoint, keepalive=False) as channel:
            await self._send(channel)

    async def _send(self, channel: grpc.aio.Channel) -> None:
        export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        try:
            await export(
                request_of(self._meter, self._resource, self._began).SerializeToString(), timeout=SEND_DEADLINE
            )
        except grpc.aio.AioRpcError as error:
            if not self._failing:
                code, why = error.code().name, error.details()
                _log.warning("%s takes no metrics (%s: %s); they are sent again and again", self._endpoint, code, why)
            self._failing = True
        else:
            self._failing = False


def _interval() -> float:
    told = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    try:
        seconds = float(told) / 1000 if told else INTERVAL
    except ValueError:
        seconds = 0.0
    if SHORTEST <= seconds <= LONGEST:
        return seconds
    _log.warning("OTEL_METRIC_EXPORT_INTERVAL = %r is no number of milliseconds: %g s are taken", told, INTERVAL)
    return INTERVAL


def request_of(meter: Meter, resource: Resource, began: int) -> ExportMetricsServiceRequest:
    """All metrics as they are now, since `began` (nanoseconds since 1970)."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (  # noqa: PLC0415 - few send them
        ExportMetricsServiceRequest,
    )

    request, now = ExportMetricsServiceRequest(), time.time_ns()
    scope = request.resource_metrics.add(resource=resource).scope_metrics.add()
    scope.scope.name = "forgemesh"
    for instrument in meter.instruments:
        with contained(f"the metric {instrument.metric.name}"):
            scope.metrics.append(_message(instrument, began, now))
    return request


def _message(instrument: Instrument, began: int, now: int) -> metrics_pb2.Metric:
    from opentelemetry.proto.metrics.v1 import metrics_pb2  # noqa: PLC0415 - few send them

    metric, cumulative = instrument.metric, metrics_pb2.AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    message = metrics_pb2.Metric(name=metric.name, unit=metric.unit, description=metric.tells)
    if isinstance(instrument, Histogram):
        message.histogram.aggregation_temporality = cumulative
        for labels, distribution in list(instrument.series.items()):
            point = message.histogram.data_points.add(start_time_unix_nano=began, time_unix_nano=now)
            point.attributes.extend(_attributes(metric, labels))
            _fill(point, metric, distribution)
        return message
    if metric.kind is Kind.COUNTER:
        message.sum.aggregation_temporality = cumulative
        message.sum.is_monotonic = True
    points = message.sum.data_points if metric.kind is Kind.COUNTER else message.gauge.data_points
    for labels, value in instrument.series.items():
        one = points.add(start_time_unix_nano=began, time_unix_nano=now, as_double=value)
        one.attributes.extend(_attributes(metric, labels))
    return message


def _fill(point: metrics_pb2.HistogramDataPoint, metric: Metric, distribution: Distribution) -> None:
    point.bucket_counts.extend(distribution.counts)
    point.explicit_bounds.extend(metric.bounds)
    point.count, point.sum = sum(distribution.counts), distribution.sum
    for seen in distribution.exemplars.values():
        point.exemplars.add(time_unix_nano=int(seen.at * 1e9), as_double=seen.value, trace_id=seen.trace_id)


def _attributes(metric: Metric, labels: Labels) -> Iterable[KeyValue]:
    return starmap(attribute, zip(metric.labels, labels, strict=True))
