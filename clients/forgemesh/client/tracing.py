"""The caller's side of an execution's trace."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis import attributes
from forgemesh.chassis.span_encoding import end_of
from forgemesh.chassis.telemetry import CLIENT, ERROR, exporting_spans, set_attributes
from forgemesh.chassis.trace_context import TraceParent, new_span_id, new_trace_id
from forgemesh.chassis.version import VERSION

SERVICE = "forgemesh-client"
EXPORT_PATIENCE = 1.0


class CallerSpan:
    """The open span of a caller, root of the trace of what is started inside it."""

    def __init__(self, name: str, about: Mapping[str, str], export: Callable[[Span], None], *, sampled: bool) -> None:
        self._export = export
        self._context = TraceParent(new_trace_id(), new_span_id(), sampled)
        self._span = Span(
            trace_id=self._context.trace_id,
            span_id=self._context.span_id,
            flags=1,
            name=name,
            kind=CLIENT,
            start_time_unix_nano=time.time_ns(),
        )
        set_attributes(self._span, about)
        self._adopted = True

    @property
    def traceparent(self) -> str | None:
        """What StartExecution is told; None if nobody takes spans, so that the mesh begins the trace itself."""
        return str(self._context) if self._context.sampled else None

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self._context.trace_id.hex()

    def started(self, execution_id: str, trace_id: str) -> None:
        """Name the execution; one that was started before has a trace of its own, and this span is dropped."""
        self._adopted = trace_id == self._context.trace_id.hex()
        set_attributes(self._span, {attributes.EXECUTION_ID: execution_id})

    def failed(self, reason: str, message: str) -> None:
        """It ended badly."""
        self._span.status.code = ERROR
        self._span.status.message = message
        set_attributes(self._span, {attributes.ERROR_TYPE: reason})

    def end(self) -> None:
        """Hand the span over for export."""
        self._span.end_time_unix_nano = end_of(self._span.start_time_unix_nano, time.time_ns())
        if self._adopted and self._context.sampled:
            self._export(self._span)


@asynccontextmanager
async def run_span(workflow: str, traces: str) -> AsyncIterator[CallerSpan]:
    """
    Trace a run of a workflow by what the block does; the span goes to `traces` (host:port) when it ends.

    An export that fails is given up, one that hangs after a second.
    """
    async with _span(f"run {workflow}", {attributes.WORKFLOW_NAME: workflow}, traces) as span:
        yield span


@asynccontextmanager
async def call_span(plugin: str, operation: str, traces: str) -> AsyncIterator[CallerSpan]:
    """As `run_span`, of one call of an operation."""
    about = {attributes.PLUGIN_ID: plugin, attributes.OPERATION: operation}
    async with _span(f"call {plugin}/{operation}", about, traces) as span:
        yield span


@asynccontextmanager
async def _span(name: str, about: Mapping[str, str], traces: str) -> AsyncIterator[CallerSpan]:
    instance = str(uuid.uuid4())
    async with exporting_spans(SERVICE, instance, traces, version=VERSION, patience=EXPORT_PATIENCE) as sink:
        span = CallerSpan(name, about, sink.add, sampled=bool(sink.endpoints))
        try:
            yield span
        finally:
            span.end()


def current_traceparent() -> str | None:
    """The W3C context of the current OpenTelemetry span; a program that never loaded the API has none."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
