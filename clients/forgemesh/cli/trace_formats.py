"""Traces as other tools read and write them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from forgemesh.language.nesting import check_depth

if TYPE_CHECKING:
    from forgemesh.api.traces.v1.span_pb2 import Span

_IDS = ("traceId", "spanId", "parentSpanId")
_AT_ONCE = 512


class NotTraces(Exception):
    """A text is not OTLP in JSON; it says where."""


def otlp_of(sent: Iterable[bytes]) -> dict[str, Any]:
    """
    ResourceSpans messages as OTLP has them in JSON: ids in hex, enum values as numbers, times as text.

    Raises NotTraces.
    """
    try:
        request = ExportTraceServiceRequest(resource_spans=[ResourceSpans.FromString(one) for one in sent])
    except DecodeError as error:
        raise NotTraces(str(error)) from error
    found: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for span in _spans(found):
        for holder in (span, *span.get("links", ())):
            for key in _IDS:
                if key in holder:
                    holder[key] = base64.b64decode(holder[key]).hex()
    return found


def requests_of(text: str) -> tuple[list[ExportTraceServiceRequest], list[str]]:
    """
    OTLP in JSON, one document or one a line, as requests of at most 512 spans, and the ids of the traces in it.

    Raises NotTraces.
    """
    requests: list[ExportTraceServiceRequest] = []
    trace_ids: dict[str, None] = {}
    for document in _documents(text):
        request = _request(document)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                trace_ids |= dict.fromkeys(span.trace_id.hex() for span in scope.spans)
                for start in range(0, len(scope.spans), _AT_ONCE):
                    part = ExportTraceServiceRequest()
                    whole = part.resource_spans.add(resource=resource.resource)
                    named = scope.scope if scope.HasField("scope") else None
                    whole.scope_spans.add(scope=named, spans=scope.spans[start : start + _AT_ONCE])
                    requests.append(part)
    if not trace_ids:
        raise NotTraces("there is not one span in it")
    return requests, list(trace_ids)


def _documents(text: str) -> Iterator[Any]:
    """Of a whole text, or of each of its lines as the collector's file exporter writes them."""
    try:
        check_depth(text)
        yield json.loads(text)
    except ValueError as whole:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise NotTraces(f"it is no JSON ({whole})") from whole
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise NotTraces(f"line {number} is no JSON ({error})") from error


def _request(document: Any) -> ExportTraceServiceRequest:
    try:
        for span in _spans(document):
            for holder in (span, *span.get("links", ())):
                for key in _IDS:
                    if key in holder:
                        holder[key] = base64.b64encode(bytes.fromhex(holder[key])).decode()
        return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise NotTraces(str(error)) from error


def _spans(document: Any) -> Iterator[dict[str, Any]]:
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def chrome_of(spans: Sequence[Span]) -> dict[str, Any]:
    """
    Trace events of chrome://tracing and Perfetto: a process for each service instance, and as many threads in it as
    spans overlap that do not lie in one another.
    """
    events: list[dict[str, Any]] = []
    processes: dict[tuple[str, str], list[list[int]]] = {}
    for span in sorted(spans, key=lambda one: (one.start_unix_nano, -one.end_unix_nano)):
        who = (span.service, span.service_instance)
        if who not in processes:
            processes[who] = []
            named = {"name": " ".join(filter(None, who))}
            events.append({"name": "process_name", "ph": "M", "pid": len(processes), "tid": 0, "args": named})
        events.append(
            {
                "name": span.name,
                "ph": "X",
                "pid": list(processes).index(who) + 1,
                "tid": _thread(processes[who], span),
                "ts": span.start_unix_nano / 1000,
                "dur": (span.end_unix_nano - span.start_unix_nano) / 1000,
                "args": {"span_id": span.span_id, "status": span.status_message, **span.attributes},
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _thread(threads: list[list[int]], span: Span) -> int:
    """The first on which the span lies within what runs there, or nothing runs any more."""
    for number, ends in enumerate(threads, start=1):
        while ends and ends[-1] <= span.start_unix_nano:
            ends.pop()
        if not ends or span.end_unix_nano <= ends[-1]:
            ends.append(span.end_unix_nano)
            return number
    threads.append([span.end_unix_nano])
    return len(threads)
