"""Spans on their way out: encoded straight to OTLP, kept in a bounded queue, sent in batches, losses counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from forgemesh.chassis.channel import connect

_log = logging.getLogger(__name__)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
QUEUE_LIMIT = 65_536
BATCH = 512
INTERVAL = 0.5
SEND_DEADLINE = 5.0
MAX_TEXT = 4096

INTERNAL = Span.SPAN_KIND_INTERNAL
SERVER = Span.SPAN_KIND_SERVER
CLIENT = Span.SPAN_KIND_CLIENT
ERROR = Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A W3C trace context: 16 and 8 bytes, and whether the trace is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{self.sampled:02x}"


def parse_traceparent(text: str) -> TraceParent | None:
    """The trace context, or None if the text is not a valid one."""
    parts = text.split("-")
    if len(parts) < 4 or (len(parts[0]), len(parts[1]), len(parts[2]), len(parts[3])) != (2, 32, 16, 2):
        return None
    try:
        trace_id, span_id, flags = bytes.fromhex(parts[1]), bytes.fromhex(parts[2]), int(parts[3], 16)
    except ValueError:
        return None
    if parts[0] == "ff" or not any(trace_id) or not any(span_id):
        return None
    return TraceParent(trace_id, span_id, bool(flags & 1))


def new_trace_id() -> bytes:
    """16 random bytes."""
    return secrets.token_bytes(16)


def new_span_id() -> bytes:
    """8 random bytes."""
    return secrets.token_bytes(8)


def set_attributes(target: Span | Span.Event | Span.Link | Resource, attributes: Mapping[str, object]) -> None:
    """Add attributes; booleans, integers and floats keep their type, everything else becomes text."""
    target.attributes.extend([attribute(key, value) for key, value in attributes.items()])


def attribute(key: str, value: object) -> KeyValue:
    """One attribute, to be added to any number of spans."""
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value[:MAX_TEXT]))
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=str(value)[:MAX_TEXT]))


Export: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[ExportTraceServiceRequest, ExportTraceServiceResponse]


@dataclass(slots=True)
class SpanCounts:
    """What became of the spans handed in."""

    added: int = 0
    sent: int = 0
    lost: int = 0


@dataclass(slots=True)
class SpanSink:
    """
    Takes finished spans and sends them in batches; never blocks and never fails its caller.

    When no endpoint takes them for long, spans beyond the queue's limit are dropped and counted as lost.
    """

    resource: Resource
    endpoints: Sequence[str]
    counts: SpanCounts = field(default_factory=SpanCounts)
    on_sent: Callable[[object], None] = lambda mark: None
    _queue: list[tuple[Span, object]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, span: Span, mark: object = None) -> None:
        """Queue one span; `on_sent(mark)` is told the mark of the last span of each batch that was taken."""
        self.counts.added += 1
        if len(self._queue) >= QUEUE_LIMIT:
            self.counts.lost += 1
            return
        self._queue.append((span, mark))
        if len(self._queue) >= BATCH:
            self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(connect(e, keepalive=False)) for e in self.endpoints]
            exports = [channel.unary_unary(EXPORT, _serialize, _deserialize) for channel in channels]
            try:
                while True:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), INTERVAL)
                    self._wake.clear()
                    while self._queue:
                        await self._send(exports, self._queue[:BATCH])
            except asyncio.CancelledError:
                await self._send_rest(exports)
                raise

    async def _send(self, exports: Sequence[Export], batch: list[tuple[Span, object]]) -> None:
        request = self._request([span for span, _ in batch])
        wait = 0.1
        pending = list(exports)
        while pending:
            pending = [export for export in pending if not await _export(export, request)]
            if pending:
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0)
        self._done(batch)

    async def _send_rest(self, exports: Sequence[Export]) -> None:
        """One try for each batch that is left; what nobody takes now is lost."""
        while self._queue:
            batch = self._queue[:BATCH]
            request = self._request([span for span, _ in batch])
            taken = [await _export(export, request) for export in exports]
            if not all(taken):
                self.counts.lost += len(self._queue)
                _log.warning("%d spans were not taken by %s", len(self._queue), ", ".join(self.endpoints))
                return
            self._done(batch)

    def _done(self, batch: list[tuple[Span, object]]) -> None:
        del self._queue[: len(batch)]
        self.counts.sent += len(batch)
        self.on_sent(batch[-1][1])

    def _request(self, spans: list[Span]) -> ExportTraceServiceRequest:
        scope = ScopeSpans(scope=InstrumentationScope(name="forgemesh"), spans=spans)
        return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=self.resource, scope_spans=[scope])])


@contextlib.asynccontextmanager
async def exporting_spans(
    service: str,
    instance: str,
    traces: str,
    *,
    version: str,
    attributes: Mapping[str, str] | None = None,
    on_sent: Callable[[object], None] = lambda mark: None,
) -> AsyncIterator[SpanSink]:
    """
    A sink that sends to `traces` (host:port, empty for none) and, as a tee, to OTEL_EXPORTER_OTLP_ENDPOINT.

    What is queued when the block ends is sent before it returns.
    """
    resource = Resource()
    facts = {
        "service.namespace": "forgemesh",
        "service.name": service,
        "service.instance.id": instance,
        "service.version": version,
        "process.pid": os.getpid(),
        "host.name": socket.gethostname(),
        **(attributes or {}),
    }
    set_attributes(resource, facts)
    sink = SpanSink(resource, endpoints(traces, os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")), on_sent=on_sent)
    sending = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


def endpoints(*addresses: str) -> list[str]:
    """Each address once, as host:port, empty ones left out."""
    bare = [address.removeprefix("http://").rstrip("/") for address in addresses]
    return list(dict.fromkeys(address for address in bare if address))


def _serialize(request: ExportTraceServiceRequest) -> bytes:
    return request.SerializeToString()


def _deserialize(data: bytes) -> ExportTraceServiceResponse:
    return ExportTraceServiceResponse.FromString(data)


async def _export(export: Export, request: ExportTraceServiceRequest) -> bool:
    try:
        await export(request, timeout=SEND_DEADLINE)
    except grpc.aio.AioRpcError as error:
        _log.debug("export of spans failed: %s", error.code().name)
        return error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
    return True
