"""The caller's side of an execution's trace."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.chassis import attributes
from forgemesh.chassis.telemetry import (
    CLIENT,
    ERROR,
    TraceParent,
    exporting_spans,
    new_span_id,
    new_trace_id,
    set_attributes,
)

SERVICE = "forgemesh-client"
EXPORT_PATIENCE = 1.0


class RunSpan:
    """The open span "run <workflow>", root of the trace of the execution that is started inside it."""

    def __init__(self, workflow: str, export: Callable[[Span], None], *, sampled: bool) -> None:
        self._export = export
        self._context = TraceParent(new_trace_id(), new_span_id(), sampled)
        self._span = Span(
            trace_id=self._context.trace_id,
            span_id=self._context.span_id,
            flags=1,
            name=f"run {workflow}",
            kind=CLIENT,
            start_time_unix_nano=time.time_ns(),
        )
        set_attributes(self._span, {attributes.WORKFLOW_NAME: workflow})
        self._adopted = True

    @property
    def traceparent(self) -> str | None:
        """What StartExecution is told; None if nobody takes spans, so that the mesh begins the trace itself."""
        return str(self._context) if self._context.sampled else None

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
        self._span.end_time_unix_nano = time.time_ns()
        if self._adopted and self._context.sampled:
            self._export(self._span)


@asynccontextmanager
async def run_span(workflow: str, traces: str) -> AsyncIterator[RunSpan]:
    """
    Trace what the block does; the span goes to `traces` (host:port) when it ends.

    An export that fails is given up, one that hangs after a second.
    """
    instance = str(uuid.uuid4())
    async with exporting_spans(
        SERVICE, instance, traces, version=version("forgemesh"), patience=EXPORT_PATIENCE
    ) as sink:
        span = RunSpan(workflow, sink.add, sampled=bool(sink.endpoints))
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
