"""Traces as other tools read and write them."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span as Sent

from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.cli.trace_formats import NotTraces, chrome_of, otlp_of, requests_of
from tests.unit.traces import otlp

MS = 1_000_000


def sent(*spans: Sent) -> ResourceSpans:
    return ResourceSpans(resource=otlp.resource(), scope_spans=[ScopeSpans(spans=spans)])


def everything() -> Sent:
    made = otlp.span(7, 2, 1, failed=True, attributes={"n": 2**60, "x": 0.5, "b": True, "text": "ä\x1b[31m\u202e"})
    made.links.add(trace_id=otlp.trace_id(9), span_id=otlp.span_id(8))
    made.events.add(name="tick", time_unix_nano=otlp.START)
    return made


def test_what_is_written_as_otlp_is_read_as_it_was() -> None:
    whole = sent(otlp.span(7, 1), everything())

    (request,), trace_ids = requests_of(json.dumps(otlp_of([whole.SerializeToString()])))

    assert list(request.resource_spans) == [whole]
    assert trace_ids == [otlp.trace_id(7).hex()]


def test_otlp_in_json_has_ids_in_hex_and_numbers_for_words_as_its_specification_wants() -> None:
    found = otlp_of([sent(everything()).SerializeToString()])
    (span,) = found["resourceSpans"][0]["scopeSpans"][0]["spans"]

    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (f"{7:032x}", f"{2:016x}", f"{1:016x}")
    assert (span["links"][0]["traceId"], span["links"][0]["spanId"]) == (f"{9:032x}", f"{8:016x}")
    assert (span["kind"], span["status"]["code"], span["startTimeUnixNano"]) == (1, 2, str(otlp.START))


def test_many_spans_go_by_parts() -> None:
    text = json.dumps(otlp_of([sent(*(otlp.span(1, number) for number in range(1, 1200))).SerializeToString()]))

    requests, _ = requests_of(text)

    counts = [len(request.resource_spans[0].scope_spans[0].spans) for request in requests]
    assert (sum(counts), max(counts)) == (1199, 512)


def test_a_file_of_a_collector_has_a_document_a_line() -> None:
    lines = [json.dumps(otlp_of([sent(otlp.span(n, 1)).SerializeToString()])) for n in (1, 2)]

    requests, trace_ids = requests_of("\n".join(lines) + "\n")

    assert (len(requests), len(trace_ids)) == (2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is no JSON"),
        ("{", "it is no JSON"),
        ("{}\nnonsense", "line 2 is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("null", "has no attribute"),
        ("[]", "has no attribute"),
        ("{}", "not one span"),
        ('{"resourceSpans": 5}', "not iterable"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', "hexadecimal"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}', "must be str"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}', "startTimeUnixNano"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": ["a"]}]}]}', "attribute"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_reason(text: str, said: str) -> None:
    with pytest.raises(NotTraces, match=said):
        requests_of(text)


def test_chrome_draws_spans_of_one_process_beside_one_another_unless_one_holds_the_other() -> None:
    def span(name: str, begin: int, end: int, service: str = "a") -> Span:
        return Span(
            name=name, start_unix_nano=begin * MS, end_unix_nano=end * MS, service=service, service_instance="1"
        )

    spans = [span("run", 0, 10), span("x", 1, 5), span("y", 2, 8), span("z", 6, 9), span("far", 0, 3, "b")]
    events = chrome_of(spans)["traceEvents"]

    drawn = {
        event["name"]: (event["pid"], event["tid"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"
    }
    assert drawn == {
        "run": (1, 1, 0.0, 10_000.0),
        "x": (1, 1, 1_000.0, 4_000.0),
        "y": (1, 2, 2_000.0, 6_000.0),
        "z": (1, 1, 6_000.0, 3_000.0),
        "far": (2, 1, 0.0, 3_000.0),
    }
    assert [event["args"]["name"] for event in events if event["ph"] == "M"] == ["a 1", "b 1"]
