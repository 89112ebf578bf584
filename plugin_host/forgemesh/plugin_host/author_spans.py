"""The author's own spans, made with the OpenTelemetry SDK and sent with the span of their call."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span as LiveSpan, SpanProcessor, TracerProvider

from forgemesh.chassis.attributes import SCOPE_NAME
from forgemesh.chassis.telemetry import SpanSink, set_attributes
from forgemesh.plugin_host.spans import CallSpan


class HoldingProcessor(SpanProcessor):
    """
    Gives each finished span to the call that it was started in, and one without a call straight to the sink.

    Works from any thread.
    """

    def __init__(self, sink: SpanSink, loop: asyncio.AbstractEventLoop) -> None:
        self._sink = sink
        self._loop = loop
        self._calls: dict[int, CallSpan] = {}

    def on_start(self, span: LiveSpan, parent_context: Context | None = None) -> None:
        parent = trace.get_current_span(parent_context)
        call = parent if isinstance(parent, CallSpan) else self._calls.get(parent.get_span_context().span_id)
        if call is not None:
            self._calls[span.get_span_context().span_id] = call

    def on_end(self, span: ReadableSpan) -> None:
        encoded = _encode(span)
        call = self._calls.pop(int.from_bytes(encoded.span_id), None)
        if call is None or not call.hold(encoded):
            self._loop.call_soon_threadsafe(self._sink.add, encoded)


def tracer_provider(sink: SpanSink, loop: asyncio.AbstractEventLoop) -> TracerProvider:
    """Makes spans of the author's code; follows the caller's decision on sampling."""
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(HoldingProcessor(sink, loop))
    return provider


def _encode(span: ReadableSpan) -> Span:
    encoded: Any = encode_spans([span]).resource_spans[0].scope_spans[0]
    message: Span = encoded.spans[0]
    set_attributes(message, {SCOPE_NAME: encoded.scope.name})
    return message
