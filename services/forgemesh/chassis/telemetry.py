"""Spans on their way out: encoded straight to OTLP, kept in a bounded queue, sent in batches, losses counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.channel import SESSION_LIMIT, connect
from forgemesh.chassis.span_limit import MAX_SPAN, is_too_large, within_limit
from forgemesh.chassis.subscribers import Subscribers
from forgemesh.chassis.tasks import lasting, watched
from forgemesh.chassis.wire import length_delimited
from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Meter

_log = logging.getLogger(__name__)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
QUEUE_LIMIT = 65_536
BATCH = 512
INTERVAL = 0.5
"""Seconds between two batches that are not full."""
SOON = 0.02
"""Seconds after which a span that has ended in a quiet time is sent, with what ends together with it."""
BATCH_BYTES = SESSION_LIMIT - 64 * 1024
SEND_DEADLINE = 5.0
FLUSH_PATIENCE = 5.0
FIRST_BACKOFF, MAX_BACKOFF = 0.1, 2.0
MAX_TEXT = 4096

INTERNAL = Span.SPAN_KIND_INTERNAL
SERVER = Span.SPAN_KIND_SERVER
CLIENT = Span.SPAN_KIND_CLIENT
ERROR = Status.STATUS_CODE_ERROR

Export: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[bytes, ExportTraceServiceResponse]

_WORTH_ANOTHER_TRY = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
)
"""As OTLP has it: any other refusal of a batch is for good."""


def set_attributes(target: Span | Span.Event | Span.Link | Resource, attributes: Mapping[str, object]) -> None:
    """
    Add attributes; booleans, integers of 64 bits and floats keep their type, everything else becomes text.

    Never fails: what UTF-8 does not know is replaced.
    """
    add = target.attributes.add  # in place: a message that is made apart is copied in, at three times the cost
    for key, value in attributes.items():
        _fill(add(), key, value)


def attribute(key: str, value: object) -> KeyValue:
    """One attribute, to be added to any number of spans."""
    pair = KeyValue()
    _fill(pair, key, value)
    return pair


def _fill(pair: KeyValue, key: str, value: object) -> None:
    try:
        _put(pair, key, value)
    except BaseException:  # noqa: BLE001 - a lone surrogate, an integer beyond 64 bits, a value that cannot be shown
        _put(pair, text_of(key), text_of(value))


def _put(pair: KeyValue, key: str, value: object) -> None:
    pair.key = key
    if isinstance(value, str):
        pair.value.string_value = value[:MAX_TEXT]
    elif isinstance(value, bool):
        pair.value.bool_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    elif isinstance(value, float):
        pair.value.double_value = value
    else:
        pair.value.string_value = str(value)[:MAX_TEXT]


def text_of(value: object) -> str:
    """Any value as text that UTF-8 knows; one that cannot be shown by the name of its type."""
    try:
        return encodable(str(value))
    except BaseException:  # noqa: BLE001 - telemetry never fails what it observes
        return f"<{type(value).__name__}>"


def encodable(text: str) -> str:
    """The text, with what UTF-8 does not know replaced."""
    return text.encode(errors="replace").decode()


@dataclass(slots=True)
class SpanCounts:
    """
    What became of the spans handed in.

    `sent` counts those that the first endpoint took; `lost` every span once for each endpoint that did not get it.
    """

    added: int = 0
    sent: int = 0
    lost: int = 0


@dataclass(slots=True)
class SpanSink:
    """
    Takes finished spans and sends them in batches; never blocks and never fails its caller.

    Every endpoint has a queue of its own, so that one that is away does not hold up the others. When it stays away for
    long, spans beyond the queue's limit are dropped and counted as lost.
    """

    resource: Resource
    endpoints: Sequence[str]
    counts: SpanCounts = field(default_factory=SpanCounts)
    sent: Subscribers[[object]] = field(default_factory=lambda: Subscribers("spans that were taken"))
    lines: list[SpanQueue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = [
            SpanQueue(endpoint, self.resource, self.counts, self._taken if number == 0 else _not_counted)
            for number, endpoint in enumerate(self.endpoints)
        ]

    def add(self, span: Span | bytes, mark: object = None) -> None:
        """
        Queue one span, as a message or encoded.

        `sent` is told the mark of the last span of each batch that was taken.
        """
        self.counts.added += 1
        encoded = span if isinstance(span, bytes) else span.SerializeToString()
        if len(encoded) > MAX_SPAN:
            encoded = within_limit(encoded)
        for line in self.lines:
            line.add(encoded, mark)
        if not self.lines:
            self._taken(1, mark)

    async def run(self) -> None:
        """Send until `close` is called, and then what still waits, with one try; a cancellation loses that."""
        async with asyncio.TaskGroup() as tasks:
            for line in self.lines:
                tasks.create_task(line.run())

    def close(self) -> None:
        """Let `run` come to its end."""
        for line in self.lines:
            line.close()

    def waiting(self) -> list[tuple[Span, object]]:
        """Spans and marks that the first endpoint has not taken yet."""
        first = self.lines[0].waiting if self.lines else []
        return [(Span.FromString(encoded), mark) for encoded, mark in first]

    def _taken(self, spans: int, mark: object) -> None:
        self.counts.sent += spans
        self.sent.tell(mark)


def _not_counted(spans: int, mark: object) -> None:
    """What the other endpoints take."""


@dataclass(slots=True)
class SpanQueue:
    """What waits for one endpoint, first come, first sent."""

    endpoint: str
    resource: Resource
    counts: SpanCounts
    taken: Callable[[int, object], None]
    waiting: list[tuple[bytes, object]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False

    def add(self, encoded: bytes, mark: object) -> None:
        """Queue one span, or count it as lost if the queue is full."""
        waiting = self.waiting
        before = len(waiting)
        if before >= QUEUE_LIMIT:
            self.counts.lost += 1
            return
        waiting.append((encoded, mark))
        if not before:
            self.begun.set()
        elif before == BATCH - 1:
            self.full.set()

    def close(self) -> None:
        """Let `run` come to its end."""
        for event in (self.closing, self.begun, self.full):
            event.set()

    async def run(self) -> None:
        """
        Send once a batch is full, or INTERVAL after the one before, but SOON after its first span at the earliest,
        until closed; then what is left. So few spans that had ended are lost with a process that is killed in a quiet
        time; in a busy one those of INTERVAL are.
        """
        try:
            await lasting(f"the sending of spans to {self.endpoint}", self._send_all)
        finally:
            if self.waiting:
                self.counts.lost += len(self.waiting)
                _log.warning("%d spans were not taken by %s", len(self.waiting), self.endpoint)

    async def _send_all(self) -> None:
        async with connect(self.endpoint, keepalive=False) as channel:
            export: Export = channel.unary_unary(EXPORT, response_deserializer=_deserialize)
            loop, next_at = asyncio.get_running_loop(), 0.0
            while not self.closing.is_set():
                await self.begun.wait()
                await _either(self.full, max(SOON, next_at - loop.time()))
                next_at = loop.time() + INTERVAL
                await self._send_waiting(export)
                _show(self.begun, bool(self.waiting))
                _show(self.full, len(self.waiting) >= BATCH)
            await self._send_waiting(export)

    async def _send_waiting(self, export: Export) -> None:
        """Send what waits now; what comes meanwhile waits for the next batch, so that batches do not shrink."""
        left = len(self.waiting)
        while left > 0:
            request, spans = self._request(min(left, BATCH))
            refused = await self._send(export, request, spans)
            if refused is None:
                return
            mark = self.waiting[spans - 1][1]
            del self.waiting[:spans]
            left -= spans
            self.counts.lost += refused
            self.taken(spans - refused, mark)

    def _request(self, size: int) -> tuple[bytes, int]:
        """The next batch, as much of it as one message may carry, and how many spans that is."""
        batch: list[bytes] = []
        room = BATCH_BYTES
        for encoded, _ in self.waiting[:size]:
            room -= len(encoded) + 5
            if room < 0 and batch:
                break
            batch.append(encoded)
        return _encoded_request(self.resource, batch), len(batch)

    async def _send(self, export: Export, request: bytes, spans: int) -> int | None:
        """How many of the spans were refused for good; None if the sink closes before the endpoint answers."""
        failures = 0
        while True:
            try:
                answer = await export(request, timeout=SEND_DEADLINE)
            except grpc.aio.AioRpcError as error:
                self._note(error)
                if error.code() not in _WORTH_ANOTHER_TRY or is_too_large(error):
                    return spans
            else:
                self._note(None)
                if refused := min(spans, answer.partial_success.rejected_spans):
                    told = answer.partial_success.error_message[:MAX_TEXT]
                    _log.warning("%s refused %d of %d spans: %s", self.endpoint, refused, spans, told)
                return refused
            if self.closing.is_set():
                return None
            await _either(self.closing, drawn_pause(failures, first=FIRST_BACKOFF, most=MAX_BACKOFF, least=0.5))
            failures += 1

    def _note(self, error: grpc.aio.AioRpcError | None) -> None:
        """Say when it begins to fail and when that is over."""
        if error is not None and not self.failing:
            _log.warning("%s takes no spans (%s: %s), they wait", self.endpoint, error.code().name, error.details())
        elif error is None and self.failing:
            _log.info("%s takes spans again", self.endpoint)
        self.failing = error is not None


@contextlib.asynccontextmanager
async def exporting_spans(
    service: str,
    instance: str,
    traces: str,
    *,
    version: str,
    attributes: Mapping[str, str] | None = None,
    patience: float = FLUSH_PATIENCE,
) -> AsyncIterator[SpanSink]:
    """
    A sink that sends to `traces` (host:port, empty for none) and, as a tee, to OTEL_EXPORTER_OTLP_ENDPOINT.

    What is queued when the block ends is sent before it returns, unless that takes longer than `patience` seconds.
    """
    resource = resource_of(service, instance, version, attributes)
    sink = SpanSink(resource, endpoints(traces, os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")))
    sending = watched(sink.run())
    try:
        yield sink
    finally:
        sink.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sending, patience)


def measure_spans(meter: Meter, sink: SpanSink) -> None:
    """What becomes of the spans of this process."""
    counts = sink.counts
    meter.observe(
        catalogue.SPANS,
        lambda: {("made",): counts.added, ("sent",): counts.sent, ("lost",): counts.lost},
    )
    meter.observe(catalogue.SPANS_WAITING, lambda: {(line.endpoint,): len(line.waiting) for line in sink.lines})


def resource_of(service: str, instance: str, version: str, attributes: Mapping[str, str] | None = None) -> Resource:
    """This process, as its spans and metrics name it."""
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
    return resource


def endpoints(*addresses: str) -> list[str]:
    """Each address once, as host:port, empty ones left out."""
    bare = [address.removeprefix("http://").rstrip("/") for address in addresses]
    return list(dict.fromkeys(address for address in bare if address))


def _show(event: asyncio.Event, state: bool) -> None:
    if state:
        event.set()
    else:
        event.clear()


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set or the time has passed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _encoded_request(resource: Resource, spans: Sequence[bytes]) -> bytes:
    """An ExportTraceServiceRequest of spans that are encoded already."""
    scope = ScopeSpans(scope=InstrumentationScope(name="forgemesh")).SerializeToString()
    scope += b"".join(_field(ScopeSpans.SPANS_FIELD_NUMBER, span) for span in spans)
    whole = ResourceSpans(resource=resource).SerializeToString() + _field(ResourceSpans.SCOPE_SPANS_FIELD_NUMBER, scope)
    return _field(ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER, whole)


def _field(number: int, data: bytes) -> bytes:
    return length_delimited(number, len(data)) + data


def _deserialize(data: bytes) -> ExportTraceServiceResponse:
    return ExportTraceServiceResponse.FromString(data)
