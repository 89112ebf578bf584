"""Spans as processes send them."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from forgemesh.chassis.attributes import EXECUTION_ID
from forgemesh.chassis.telemetry import set_attributes

START = 1_764_000_000_000_000_000
MILLISECOND = 1_000_000


def trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def span(
    trace: int,
    number: int,
    parent: int = 0,
    *,
    name: str = "work",
    start: int = 0,
    length: int = 10,
    execution: str = "",
    failed: bool = False,
    attributes: Mapping[str, object] | None = None,
) -> Span:
    """A span of `length` milliseconds that starts `start` milliseconds after START."""
    made = Span(
        trace_id=trace_id(trace),
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent else b"",
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=START + start * MILLISECOND,
        end_time_unix_nano=START + (start + length) * MILLISECOND,
    )
    if failed:
        made.status.code = Status.STATUS_CODE_ERROR
        made.status.message = "it broke"
    set_attributes(made, ({EXECUTION_ID: execution} if execution else {}) | dict(attributes or {}))
    return made


def resource(service: str = "forgemesh-orchestrator", instance: str = "o-1") -> Resource:
    made = Resource()
    set_attributes(made, {"service.name": service, "service.instance.id": instance})
    return made


def request(spans: Sequence[Span], *, sender: Resource | None = None) -> ExportTraceServiceRequest:
    scope = ScopeSpans(spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=sender or resource(), scope_spans=[scope])])
