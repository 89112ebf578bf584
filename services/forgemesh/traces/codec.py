"""OTLP into stored spans, stored spans into the API's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from forgemesh.api.traces.v1 import span_pb2, trace_service_pb2
from forgemesh.chassis.attributes import EXECUTION_ID, SERVICE_INSTANCE_ID, SERVICE_NAME
from forgemesh.chassis.counting import excess_of
from forgemesh.chassis.pages import key_before, token_after
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.traces.domain.span import SPAN_ID_BYTES, TRACE_ID_BYTES, Delivery, PageEnd, Span, StoredSpan
from forgemesh.traces.domain.summary import TraceSummary

MAX_SPAN_BYTES = 128 * 1024
_MAX_TEXT = 4096
_LATEST = 2**63 - 1
_NO_TRACE = bytes(TRACE_ID_BYTES)
_NO_SPAN = bytes(SPAN_ID_BYTES)
_NO_PARENT = (b"", _NO_SPAN)
_ERROR = trace_pb2.Status.STATUS_CODE_ERROR


def deliveries_of(request: ExportTraceServiceRequest) -> tuple[list[Delivery], ExportTraceServiceResponse]:
    """The spans that can be kept, and the answer to their sender, which counts those that cannot."""
    deliveries: list[Delivery] = []
    refused: Counter[str] = Counter()
    for resource_spans in request.resource_spans:
        spans: list[Span] = []
        for scope_spans in resource_spans.scope_spans:
            for message in scope_spans.spans:
                span = _span(message)
                if isinstance(span, str):
                    refused[span] += 1
                else:
                    spans.append(span)
        deliveries.append(Delivery(resource_spans.resource.SerializeToString(), spans))
    return deliveries, _answer(refused)


def _span(message: trace_pb2.Span) -> Span | str:
    """The span, or what is wrong with it."""
    body = message.SerializeToString()
    excess = excess_of(message, len(body))
    if excess is not None:
        return f"it has more than {excess.bound:,} of {excess.field}"
    span = _stored_span(message, body)
    if len(span.trace_id) != TRACE_ID_BYTES or span.trace_id == _NO_TRACE:
        return f"the trace id is not {TRACE_ID_BYTES} bytes, or zero"
    if len(span.span_id) != SPAN_ID_BYTES or span.span_id == _NO_SPAN:
        return f"the span id is not {SPAN_ID_BYTES} bytes, or zero"
    if span.parent_id is not None and len(span.parent_id) != SPAN_ID_BYTES:
        return f"the parent's span id is not {SPAN_ID_BYTES} bytes"
    if not span.start or span.end > _LATEST:
        return "it has no start, or a time beyond the year 2262"
    if len(span.body) > MAX_SPAN_BYTES:
        return f"it has more than {MAX_SPAN_BYTES} bytes"
    return span


def stored_span_of(body: bytes) -> Span:
    """The span that was stored as `body`."""
    return _stored_span(trace_pb2.Span.FromString(body), body)


def _stored_span(message: trace_pb2.Span, body: bytes) -> Span:
    """The columns of a span; processes of the mesh name the execution first, so the loop is short."""
    execution_id = ""
    for attribute in message.attributes:
        if attribute.key == EXECUTION_ID:
            execution_id = attribute.value.string_value
            break
    start, end, parent_id = message.start_time_unix_nano, message.end_time_unix_nano, message.parent_span_id
    return Span(
        message.trace_id,
        message.span_id,
        None if parent_id in _NO_PARENT else parent_id,
        message.name,
        start,
        max(start, end),
        message.status.code == _ERROR,
        execution_id,
        body,
    )


def _answer(refused: Counter[str]) -> ExportTraceServiceResponse:
    answer = ExportTraceServiceResponse()
    if refused:
        answer.partial_success.rejected_spans = refused.total()
        listed = "; ".join(f"{what} ({count} spans)" for what, count in refused.items())
        answer.partial_success.error_message = f"not stored: {listed}"
    return answer


def trace_id_of(text: str) -> bytes:
    """Raises InvalidRequest unless the text is 32 hex digits."""
    if _is_hexadecimal(text, TRACE_ID_BYTES):
        return bytes.fromhex(text)
    raise InvalidRequest([Violation("trace_id", "must be 32 hex digits")])


def to_spans(stored: Iterable[StoredSpan]) -> list[span_pb2.Span]:
    """The spans as the API shows them; each resource is read once."""
    senders: dict[bytes, tuple[str, str]] = {}
    spans: list[span_pb2.Span] = []
    for row in stored:
        sender = senders.get(row.resource)
        if sender is None:
            sender = senders[row.resource] = _sender(row.resource)
        spans.append(_to_span(trace_pb2.Span.FromString(row.body), *sender))
    return spans


def as_sent(stored: Iterable[StoredSpan]) -> Iterator[bytes]:
    """The spans as their senders encoded them, in ResourceSpans; those that stand together share one."""
    for resource, rows in groupby(stored, key=lambda row: row.resource):
        message = trace_pb2.ResourceSpans(resource=Resource.FromString(resource))
        message.scope_spans.add().spans.extend(trace_pb2.Span.FromString(row.body) for row in rows)
        yield message.SerializeToString()


def _sender(resource: bytes) -> tuple[str, str]:
    facts = _texts(Resource.FromString(resource).attributes)
    return facts.get(SERVICE_NAME, ""), facts.get(SERVICE_INSTANCE_ID, "")


def _to_span(message: trace_pb2.Span, service: str, instance: str) -> span_pb2.Span:
    return span_pb2.Span(
        trace_id=message.trace_id.hex(),
        span_id=message.span_id.hex(),
        parent_span_id="" if message.parent_span_id in _NO_PARENT else message.parent_span_id.hex(),
        name=message.name,
        kind=_kind(message.kind),
        start_unix_nano=message.start_time_unix_nano,
        end_unix_nano=max(message.start_time_unix_nano, message.end_time_unix_nano),
        status=span_pb2.SpanStatus.ValueType(message.status.code if message.status.code in (1, 2) else 0),
        status_message=message.status.message,
        service=service,
        service_instance=instance,
        attributes=_texts(message.attributes),
        events=[
            span_pb2.SpanEvent(
                name=event.name, unix_nano=min(event.time_unix_nano, _LATEST), attributes=_texts(event.attributes)
            )
            for event in sorted(message.events, key=lambda event: event.time_unix_nano)
        ],
        links=[
            span_pb2.SpanLink(
                trace_id=link.trace_id.hex(), span_id=link.span_id.hex(), attributes=_texts(link.attributes)
            )
            for link in message.links
        ],
    )


def _kind(kind: int) -> str:
    """OpenTelemetry has an unspecified kind read as INTERNAL."""
    known = trace_pb2.Span.SpanKind.values()
    name = trace_pb2.Span.SpanKind.Name(kind) if kind and kind in known else "SPAN_KIND_INTERNAL"  # type: ignore[arg-type]
    return name.removeprefix("SPAN_KIND_")


def _texts(attributes: Iterable[common_pb2.KeyValue]) -> Mapping[str, str]:
    return {attribute.key: _text(attribute.value) for attribute in attributes}


def _text(value: common_pb2.AnyValue) -> str:
    plain = _plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return text[:_MAX_TEXT]


def _plain(value: common_pb2.AnyValue) -> object:
    """What the value says, as JSON can say it; bytes in hex."""
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: _plain(item.value) for item in value.kvlist_value.values}
        case "bytes_value":
            return value.bytes_value.hex()
        case None:
            return ""
        case kind:
            return getattr(value, kind)


def to_summary(summary: TraceSummary) -> trace_service_pb2.TraceSummary:
    """One line of the list."""
    return trace_service_pb2.TraceSummary(
        trace_id=summary.trace_id.hex(),
        execution_id=summary.execution_id,
        name=summary.name,
        start_unix_nano=summary.start,
        end_unix_nano=summary.end,
        spans=summary.spans,
        errors=summary.errors,
    )


def to_page_token(start: int, key: bytes) -> str:
    """Opaque to clients."""
    return token_after(str(start), key.hex())


def page_end_of(token: str, key_bytes: int) -> PageEnd | None:
    """Where the page before ended; None for the first page. Raises InvalidRequest for any other text."""
    key = key_before(token, 2)
    if key is None:
        return None
    start, hexadecimal = key
    if start.isdecimal() and len(start) < 20 and int(start) <= _LATEST and _is_hexadecimal(hexadecimal, key_bytes):
        return PageEnd(int(start), bytes.fromhex(hexadecimal))
    raise InvalidRequest([Violation("page_token", "must come from an earlier response to the same request")])


def next_page(spans: Sequence[StoredSpan], *, more: bool) -> str:
    """The token of the page after these spans; empty if there is none."""
    return to_page_token(spans[-1].start, spans[-1].span_id) if more else ""


def _is_hexadecimal(text: str, size: int) -> bool:
    """Whether the text says `size` bytes."""
    return len(text) == 2 * size and all(digit in "0123456789abcdefABCDEF" for digit in text)
