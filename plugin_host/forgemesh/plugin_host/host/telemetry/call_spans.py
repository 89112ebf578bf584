"""The span of each call: built straight as OTLP, and the parent of whatever spans the author adds."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from opentelemetry import context as otel_context, trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.chassis import attributes
from forgemesh.chassis.span_encoding import (
    encoded_attribute,
    encoded_span,
    end_of,
    number_attribute,
    text_attribute,
    usual_attribute,
)
from forgemesh.chassis.telemetry import ERROR, SERVER, SpanSink, set_attributes, text_of
from forgemesh.chassis.trace_context import TraceParent, new_span_id, new_trace_id, parse_traceparent
from forgemesh.faults import Code
from forgemesh.plugin import PluginDefinition
from forgemesh.plugin_host.host.telemetry.observation import observing

_MOST_CHILDREN = 1000
_MOST_EVENTS = 128
_MOST_ATTRIBUTES = 128
_LATEST = 2**64 - 1


class CallSpan(trace.Span):
    """
    The span that an operation runs in, as the author's code sees it; the host ends it.

    Spans that are started within it wait here until it ends: a killed process never leaves a child without its parent.
    """

    extra: dict[str, Any] | None = None
    events: list[tuple[str, int, Mapping[str, Any]]] | None = None
    _context: trace.SpanContext | None = None

    def __init__(self, trace_id: bytes, parent_id: bytes, recorded: bool) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.span_id = new_span_id()
        self.recorded = recorded
        self.children: list[Span] | None = []

    @property
    def traceparent(self) -> str:
        """For calls that the operation makes itself."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{self.recorded:02x}"

    def enter(self) -> None:
        """Make this the current span of the current context, which is the call's own."""
        otel_context.attach(trace.set_span_in_context(self))

    def hold(self, child: Span) -> bool:
        """Keep a finished child until this span ends; false if it has ended, or holds as many as it may."""
        children = self.children  # another thread may end the span meanwhile
        if children is None or len(children) >= _MOST_CHILDREN:
            return False
        children.append(child)
        return True

    def get_span_context(self) -> trace.SpanContext:
        if self._context is None:
            self._context = trace.SpanContext(
                int.from_bytes(self.trace_id),
                int.from_bytes(self.span_id),
                is_remote=False,
                trace_flags=trace.TraceFlags(self.recorded),
            )
        return self._context

    def is_recording(self) -> bool:
        return self.recorded and self.children is not None

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    @observing
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.extra = {**(self.extra or {}), **attributes}

    @observing
    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        self.events = self.events or []
        if len(self.events) < _MOST_EVENTS:
            moment = min(max(int(timestamp or time.time_ns()), 0), _LATEST)
            self.events.append((name, moment, dict(attributes or {})))

    @observing
    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self.add_event("exception", {**_exception(exception), **(attributes or {})}, timestamp)

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Without effect: the outcome of the call says how it ended."""

    def update_name(self, name: str) -> None:
        """Without effect: the name says which operation it is."""

    def end(self, end_time: int | None = None) -> None:
        """Without effect: the host ends it with the call."""


class CallSpans:
    """Begins and ends the spans of one host's calls; `incarnation` is asked for each time."""

    def __init__(
        self, sink: SpanSink, plugin: PluginDefinition, instance_id: str, incarnation: Callable[[], int]
    ) -> None:
        self._sink = sink
        self._plugin = plugin
        self._instance_id = instance_id
        self._incarnation = incarnation
        self._operations: dict[tuple[str, int], tuple[str, bytes]] = {}

    def begin(self, traceparent: str) -> CallSpan:
        """A child of the caller's span; a trace of its own for a caller that has none."""
        parent: TraceParent | None = parse_traceparent(traceparent) if traceparent else None
        if parent is None:
            return CallSpan(new_trace_id(), b"", True)
        return CallSpan(parent.trace_id, parent.span_id, parent.sampled)

    @observing
    def end(
        self,
        call: CallSpan,
        invocation: invocation_pb2.Invocation,
        *,
        start: int,
        end: int,
        queued: int,
        failure: failure_pb2.Failure | None,
    ) -> None:
        """Send the span and what it held. Times are Unix nanoseconds, `queued` is microseconds."""
        held, call.children = call.children, None
        if not call.recorded or not self._sink.endpoints:
            return
        name, operation = self._operation(invocation.operation)
        span = encoded_span(
            call.trace_id,
            call.span_id,
            call.parent_id,
            name,
            SERVER,
            start,
            end_of(start, end),
            (operation, *_of_invocation(invocation, queued)),
            _rest(call, failure) if call.extra or call.events or failure is not None else None,
        )
        self._sink.add(span)
        for child in held or ():
            self._sink.add(child)

    def _operation(self, operation: str) -> tuple[str, bytes]:
        """The name and the attributes that all spans of an operation have."""
        key = (operation, self._incarnation())
        found = self._operations.get(key)
        if found is None:
            facts: dict[str, str | int] = {
                attributes.PLUGIN_ID: self._plugin.plugin_id,
                attributes.PLUGIN_VERSION: self._plugin.version,
                attributes.OPERATION: operation,
                attributes.INSTANCE_ID: self._instance_id,
                attributes.INSTANCE_INCARNATION: key[1],
            }
            encoded = b"".join(encoded_attribute(*fact) for fact in facts.items())
            found = self._operations[key] = f"execute {self._plugin.plugin_id}/{operation}", encoded
        return found


def _of_invocation(invocation: invocation_pb2.Invocation, queued: int) -> tuple[bytes, ...]:
    return (
        text_attribute(attributes.EXECUTION_ID, invocation.execution_id),
        text_attribute(attributes.STEP_PATH, invocation.step_path),
        usual_attribute(attributes.STEP_ATTEMPT, invocation.attempt),
        text_attribute(attributes.IDEMPOTENCY_KEY, invocation.idempotency_key),
        number_attribute(attributes.QUEUE_WAIT_MILLIS, queued / 1000),
    )


def _rest(call: CallSpan, failure: failure_pb2.Failure | None) -> Span:
    """What few calls have."""
    span = Span()
    _add_what_the_author_said(span, call)
    if failure is not None:
        _add_failure(span, failure)
    return span


def _add_what_the_author_said(span: Span, call: CallSpan) -> None:
    if call.extra:
        _set(span, call.extra)
    for name, moment, facts in call.events or ():
        _set(span.events.add(name=text_of(name), time_unix_nano=moment), facts)


def _set(target: Span | Span.Event, attributes: Mapping[str, Any]) -> None:
    """As many as OpenTelemetry's own spans have; how many are left out is said."""
    set_attributes(target, dict(islice(attributes.items(), _MOST_ATTRIBUTES)))
    target.dropped_attributes_count = max(0, len(attributes) - _MOST_ATTRIBUTES)


def _add_failure(span: Span, failure: failure_pb2.Failure) -> None:
    """A call that was taken back has no error: nobody wanted its result."""
    set_attributes(span, {attributes.ERROR_TYPE: failure.reason})
    if failure.code != Code.CANCELLED:
        span.status.code = ERROR
        span.status.message = failure.message


def _exception(error: BaseException) -> dict[str, str]:
    return {
        attributes.EXCEPTION_TYPE: type(error).__qualname__,
        attributes.EXCEPTION_MESSAGE: text_of(error),
        attributes.EXCEPTION_STACKTRACE: "".join(traceback.format_exception(error)),
    }
