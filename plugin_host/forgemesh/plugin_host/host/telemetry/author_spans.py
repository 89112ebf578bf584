"""The author's own spans, made with the OpenTelemetry SDK and sent with the span of their call."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span as LiveSpan, SpanProcessor, TracerProvider

from forgemesh.chassis.attributes import SCOPE_NAME
from forgemesh.chassis.telemetry import SpanSink, set_attributes, text_of
from forgemesh.plugin_host.host.telemetry.call_spans import CallSpan
from forgemesh.plugin_host.host.telemetry.observation import observing

_log = logging.getLogger(__name__)


class HoldingProcessor(SpanProcessor):
    """
    Gives each finished span to the call that it was started in, and one without a call straight to the sink.

    Works from any thread.
    """

    def __init__(self, sink: SpanSink, loop: asyncio.AbstractEventLoop) -> None:
        self._sink = sink
        self._loop = loop
        self._calls: dict[int, CallSpan] = {}

    @observing
    def on_start(self, span: LiveSpan, parent_context: Context | None = None) -> None:
        parent = trace.get_current_span(parent_context)
        call = parent if isinstance(parent, CallSpan) else self._calls.get(parent.get_span_context().span_id)
        if call is not None:
            self._calls[span.get_span_context().span_id] = call

    @observing
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
    try:
        encoded: Any = encode_spans([span]).resource_spans[0].scope_spans[0]
    except Exception as error:  # noqa: BLE001 - a lone surrogate in a name, an event of another time
        _log.warning("the span %r is sent without what the author added: %s", text_of(span.name), error)
        return _bare(span)
    message: Span = encoded.spans[0]
    set_attributes(message, {SCOPE_NAME: encoded.scope.name})
    return message


def _bare(span: ReadableSpan) -> Span:
    """Its place in the trace, its name and its times, which the spans below it need."""
    context, parent = span.get_span_context() or trace.INVALID_SPAN_CONTEXT, span.parent
    return Span(
        trace_id=context.trace_id.to_bytes(16),
        span_id=context.span_id.to_bytes(8),
        parent_span_id=parent.span_id.to_bytes(8) if parent is not None else b"",
        name=text_of(span.name),
        start_time_unix_nano=_moment(span.start_time),
        end_time_unix_nano=_moment(span.end_time),
    )


def _moment(nanoseconds: object) -> int:
    return nanoseconds if isinstance(nanoseconds, int) and 0 <= nanoseconds < 2**64 else 0
