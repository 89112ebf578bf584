"""An OTLP receiver that keeps what it gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

DEADLINE = 180.0


class Collector(TraceServiceServicer):
    """Spans in the order of their arrival, and the resource that sent the last of them."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource = Resource()
        self.address = ""
        self._arrived = asyncio.Condition()

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        async with self._arrived:
            for resource_spans in request.resource_spans:
                self.resource = resource_spans.resource
                for scope_spans in resource_spans.scope_spans:
                    self.spans.extend(scope_spans.spans)
            self._arrived.notify_all()
        return ExportTraceServiceResponse()

    async def until(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """The spans, once there are enough."""
        async with asyncio.timeout(DEADLINE), self._arrived:
            await self._arrived.wait_for(lambda: enough(self.spans))
        return self.spans


def attributes_of(carrier: Span | Span.Event | Resource) -> dict[str, object]:
    """Attributes by name, as plain values."""

    def value(pair: KeyValue) -> object:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in carrier.attributes}


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A receiver on a free port."""
    collector = Collector()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
