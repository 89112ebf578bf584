"""A trace store that serves on a free port, with its database in the test's folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.api.traces.v1 import trace_service_pb2 as pb
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.telemetry import EXPORT
from forgemesh.traces.main import serving_traces
from forgemesh.traces.settings import TracesSettings
from tests.unit.traces import otlp

if TYPE_CHECKING:
    import grpc

    from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceAsyncStub

PATIENCE = 180.0


@dataclass(frozen=True)
class TraceStore:
    """What a client sees of the store."""

    address: str
    channel: grpc.aio.Channel

    @property
    def stub(self) -> TraceServiceAsyncStub:
        return TraceServiceStub(self.channel)

    async def export(self, *spans: Span, sender: Resource | None = None) -> ExportTraceServiceResponse:
        call = self.channel.unary_unary(
            EXPORT,
            request_serializer=ExportTraceServiceRequest.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
        answer: ExportTraceServiceResponse = await call(otlp.request(spans, sender=sender), timeout=PATIENCE)
        return answer

    async def get(self, **key: Any) -> pb.GetTraceResponse:
        return await self.stub.GetTrace(pb.GetTraceRequest(**key), timeout=PATIENCE)

    async def list(self, page_size: int = 0, page_token: str = "") -> pb.ListTracesResponse:
        request = pb.ListTracesRequest(page_size=page_size, page_token=page_token)
        return await self.stub.ListTraces(request, timeout=PATIENCE)

    async def summaries(self) -> Sequence[pb.TraceSummary]:
        return (await self.list()).traces


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TraceStore]:
    settings = TracesSettings(
        listen="127.0.0.1:0", health_listen="127.0.0.1:0", database=tmp_path / "traces.db", reflection=True
    )
    async with serving_traces(settings) as server, connect(server.address) as channel:
        yield TraceStore(server.address, channel)
