"""The process of the trace store."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm, need_descriptors

end_on_sigterm()
collect_rarely()
need_descriptors()

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    add_TraceServiceServicer_to_server as add_otlp,
)

from forgemesh.api.traces.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.measuring import Measuring
from forgemesh.chassis.process import tell_ready
from forgemesh.chassis.reconcile import ReconcileLoop
from forgemesh.chassis.server import Serving, serving
from forgemesh.chassis.service import service_main
from forgemesh.chassis.steady_clock import SteadyClock
from forgemesh.chassis.tasks import beside
from forgemesh.metrics.instrument import Meter
from forgemesh.traces.adapters.span_database import open_span_database
from forgemesh.traces.adapters.sqlite import SqliteSpanStore
from forgemesh.traces.application import Traces
from forgemesh.traces.metrics import measure
from forgemesh.traces.servicer import OtlpServicer, TracesServicer
from forgemesh.traces.settings import TracesSettings

SERVICES = ("forgemesh.api.traces.v1.TraceService", "opentelemetry.proto.collector.trace.v1.TraceService")
_SWEEP_PERIOD = 60.0


@contextlib.asynccontextmanager
async def serving_traces(settings: TracesSettings, meter: Meter | None = None) -> AsyncIterator[Serving]:
    """The trace store, not yet ready; starts in reading order, stops in reverse."""
    async with open_span_database(settings.database) as database:
        traces = Traces(SqliteSpanStore(database), clock=SteadyClock().seconds, retention=settings.retention())
        meter = meter or Meter()
        meter.add(database.commits)
        measure(meter, traces)

        def add(server: grpc.aio.Server) -> None:
            add_otlp(OtlpServicer(traces), server)  # type: ignore[no-untyped-call]
            add_TraceServiceServicer_to_server(TracesServicer(traces), server)

        listen = settings.listening(receive_limit=SESSION_LIMIT)
        sweeps = ReconcileLoop("retention", traces.sweep, period=_SWEEP_PERIOD)
        async with (
            serving(listen, SERVICES, add) as server,
            beside(sweeps.run(), database.look_after(server.health.hinder, replaceable=True)),
        ):
            yield server


async def run(settings: TracesSettings, measured: Measuring, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    async with serving_traces(settings, measured.meter) as server:
        await server.health.ready()
        tell_ready(address=server.address, health_address=server.health_address, metrics_address=measured.address)
        await stop.wait()


if __name__ == "__main__":
    service_main(TracesSettings, "traces", run)
