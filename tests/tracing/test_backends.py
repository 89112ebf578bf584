"""What other people's tools see of a mesh: the same as its own."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from tests.tracing.backends import Collector, Jaeger, Prometheus, eventually
from tests.tracing.shop import Shop

MICROSECOND = 1000
SERVICES = {"orchestrator", "registry", "balancer", "traces", "supervisor"}


def as_jaeger_has_it(span: dict[str, Any]) -> tuple[Any, ...]:
    """Of OTLP: id, name, parent and links, start and length in microseconds."""
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    refers = {(link["traceId"], link["spanId"], "FOLLOWS_FROM") for link in span.get("links", ())}
    if "parentSpanId" in span:
        refers.add((span["traceId"], span["parentSpanId"], "CHILD_OF"))
    return span["spanId"], span["name"], frozenset(refers), start // MICROSECOND, (end - start) // MICROSECOND


def as_it_says(span: dict[str, Any]) -> tuple[Any, ...]:
    refers = frozenset((one["traceID"], one["spanID"], one["refType"]) for one in span["references"])
    return span["spanID"], span["operationName"], refers, span["startTime"], span["duration"]


def test_jaeger_gets_by_a_collector_the_same_spans_with_the_same_parents_links_and_lengths(
    shop: Shop, jaeger: Jaeger
) -> None:
    shop.run("observed")
    exported = shop.exported("observed")
    names = [span["name"] for span in exported]
    assert names.count("charge") == 3
    assert names.count("book") >= 2
    assert "blocked" in names
    if "go" in shop.languages:
        assert "execute text.words/count" in names

    (trace_id,) = {span["traceId"] for span in exported}
    eventually(lambda: len(jaeger.trace(trace_id)) >= len(exported))
    found = jaeger.trace(trace_id)

    assert {as_it_says(span) for span in found} == {as_jaeger_has_it(span) for span in exported}
    assert len(found) == len(exported)
    assert [warning for span in found for warning in span["warnings"] or ()] == []
    known = {span["spanID"] for span in found}
    parents = {one["spanID"] for span in found for one in span["references"] if one["refType"] == "CHILD_OF"}
    assert parents <= known


def test_a_collector_hears_the_metrics_of_services_and_plugins(shop: Shop, collector: Collector) -> None:
    shop.run("counted")
    shop.up.stop()  # what was measured last is sent at the end; the process that charged has died

    def told() -> bool:
        text = collector.told()
        return "forgemesh_call_duration_seconds_count{" in text and 'operation="book"' in text

    eventually(told)


def test_prometheus_scrapes_every_service(lone_shop: Shop, prometheus: Prometheus) -> None:
    lone_shop.run("scraped")

    def scraped() -> bool:
        ran = prometheus.value("forgemesh_execution_duration_seconds_count")
        return ran.get("orchestrator") == 1.0

    eventually(scraped)
    assert prometheus.value("up") == dict.fromkeys(SERVICES, 1.0)
    assert eventually(lambda: prometheus.value("forgemesh_loop_lag_seconds_count")).keys() == SERVICES


def test_an_incident_fires_its_alert(lone_shop: Shop, prometheus: Prometheus) -> None:
    nobody = "ForgeMeshPluginServesNobody"
    eventually(lambda: prometheus.value("forgemesh_instances") and nobody not in prometheus.firing())
    host = lone_shop.up.pids()["bank-1"]
    os.kill(host, signal.SIGSTOP)
    try:
        eventually(lambda: nobody in prometheus.firing())
    finally:
        with contextlib.suppress(ProcessLookupError):  # the supervisor does not wait for it for ever
            os.kill(host, signal.SIGCONT)
    eventually(lambda: nobody not in prometheus.firing())
