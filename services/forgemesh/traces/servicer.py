"""OTLP's TraceService and ours over gRPC: translate, call, translate back."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp, trace_service_pb2_grpc as otlp_grpc

from forgemesh.api.traces.v1 import trace_service_pb2 as pb
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceServicer
from forgemesh.chassis.pages import fitting, size_of
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.traces import codec
from forgemesh.traces.application import Traces
from forgemesh.traces.domain.span import SPAN_ID_BYTES, TRACE_ID_BYTES


class OtlpServicer(otlp_grpc.TraceServiceServicer):
    """Takes spans; a span that cannot be kept is counted in the answer and does not fail its batch."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def Export(self, request: otlp.ExportTraceServiceRequest, context: Any) -> otlp.ExportTraceServiceResponse:
        deliveries, answer = codec.deliveries_of(request)
        await self._traces.record(deliveries)
        return answer


class TracesServicer(TraceServiceServicer):
    """Gives traces back."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def GetTrace(self, request: pb.GetTraceRequest, context: Any) -> pb.GetTraceResponse:
        after = codec.page_end_of(request.page_token, SPAN_ID_BYTES)
        trace_id = await self._trace_id(request)
        spans, more = await self._traces.trace(trace_id, after)
        answer = pb.GetTraceResponse(trace_id=trace_id.hex(), next_page_token=codec.next_page(spans, more=more))
        if request.as_sent:
            answer.sent.extend(codec.as_sent(spans))
        else:
            answer.spans.extend(codec.to_spans(spans))
        return answer

    async def _trace_id(self, request: pb.GetTraceRequest) -> bytes:
        if request.trace_id:
            return codec.trace_id_of(request.trace_id)
        if request.execution_id:
            return await self._traces.trace_id_of(request.execution_id)
        raise InvalidRequest([Violation("key", "say a trace id or an execution id")])

    async def ListTraces(self, request: pb.ListTracesRequest, context: Any) -> pb.ListTracesResponse:
        after = codec.page_end_of(request.page_token, TRACE_ID_BYTES)
        size = size_of(request.page_size, usual=50)
        found, more = await self._traces.newest(after, size)
        page = fitting(codec.to_summary(summary) for summary in found)
        more, found = more or len(page) < len(found), found[: len(page)]
        token = codec.to_page_token(found[-1].start, found[-1].trace_id) if more else ""
        return pb.ListTracesResponse(traces=page, next_page_token=token)
