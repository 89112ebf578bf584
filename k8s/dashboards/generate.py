"""
Writes forgemesh.json, a dashboard for Grafana, and alerts.yaml, rules for Prometheus.

Names come from the catalogue of metrics, so that neither asks for one that does not exist.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from forgemesh.chassis.metrics_endpoint import exposed_name
from forgemesh.metrics import catalogue as c
from forgemesh.metrics.metric import Kind, Metric

Json: TypeAlias = dict[str, Any]

FOLDER = Path(__file__).resolve().parent
DASHBOARD, ALERTS = FOLDER / "forgemesh.json", FOLDER / "alerts.yaml"
RUNBOOK = "docs/operations.md#the-alerts"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 12, 8


def name(metric: Metric) -> str:
    """As Prometheus has it."""
    return exposed_name(metric.name, metric.unit) + ("_total" if metric.kind is Kind.COUNTER else "")


def rate(metric: Metric, by: str) -> str:
    """Per second, of a counter or of how often a histogram was written."""
    ending = "_count" if metric.kind is Kind.HISTOGRAM else ""
    return f"sum by ({by}) (rate({name(metric)}{ending}[$__rate_interval]))"


def quantile(share: float, metric: Metric, by: str) -> str:
    """Of a histogram."""
    of = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({of}) (rate({name(metric)}_bucket[$__rate_interval])))"


def chosen(labels: dict[str, str]) -> str:
    """A selector; empty for all."""
    pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def quantiles(metric: Metric, by: str) -> list[tuple[str, str]]:
    """Half of what came, and nearly all."""
    return [(quantile(share, metric, by), f"{{{{{by}}}}} p{share * 100:g}") for share in (0.5, 0.99)]


def summed(metric: Metric, by: str, legend: str = "") -> tuple[str, str]:
    """A gauge over all processes."""
    shown = legend or " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return f"sum by ({by}) ({name(metric)})", shown


def rated(metric: Metric, by: str) -> tuple[str, str]:
    """Per second, over all processes."""
    return rate(metric, by), " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


def panels() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Title, unit, and expressions with their legends."""
    yield "Executions that ended", "ops", [rated(c.EXECUTION_DURATION, "status")]
    yield "Duration of executions", "s", quantiles(c.EXECUTION_DURATION, "workflow")
    yield "Calls by what they say of the instance", "ops", [rated(c.CALL_DURATION, "plugin, outcome")]
    yield "Duration of calls", "s", quantiles(c.CALL_DURATION, "plugin")
    yield "Open executions", "short", [summed(c.EXECUTIONS_OPEN, "state")]
    yield (
        "Calls that wait, and all that run",
        "short",
        [summed(c.CALLS_WAITING, "plugin"), (name(c.CALLS_IN_FLIGHT), "run")],
    )
    yield "The oldest call that waits", "s", [(f"max by (plugin) ({name(c.OLDEST_WAIT)})", "{{plugin}}")]
    yield "Instances by their health", "short", [summed(c.INSTANCES, "plugin, health")]
    yield "Circuits by their state", "short", [summed(c.CIRCUITS, "plugin, state")]
    yield "Changes of circuits", "ops", [rated(c.CIRCUIT_TRANSITIONS, "plugin, state")]
    yield "Calls under way on instances", "short", [summed(c.INSTANCE_IN_FLIGHT, "instance")]
    yield "Processes of plugins", "short", [summed(c.HOSTS, "plugin, state")]
    yield "What happened to processes of plugins", "ops", [rated(c.HOST_EVENTS, "plugin, kind")]
    yield "Lag of event loops, p99", "s", [(quantile(0.99, c.LOOP_LAG, "instance"), "{{instance}}")]
    yield "Writes in one commit, median", "short", [(quantile(0.5, c.STORE_COMMIT, "instance"), "{{instance}}")]
    yield "Spans", "ops", [rated(c.SPANS, "fate")]


def dashboard() -> Json:
    """For Grafana 10 and newer; the data source is asked for."""
    numbers = count(1)
    drawn = [
        {
            "id": next(numbers),
            "type": "timeseries",
            "title": title,
            "datasource": SOURCE,
            "gridPos": {"x": at % 2 * WIDTH, "y": at // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + which), "expr": expression, "legendFormat": legend, "exemplar": True}
                for which, (expression, legend) in enumerate(asked)
            ],
        }
        for at, (title, unit, asked) in enumerate(panels())
    ]
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        "uid": "forgemesh",
        "title": "ForgeMesh",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": drawn,
    }


def alert(title: str, expression: str, lasting: str, severity: str, summary: str) -> Json:
    """One rule; what to do about it stands in the manual."""
    return {
        "alert": title,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "runbook": RUNBOOK},
    }


def alerts() -> Json:
    """Rules; see `promtool check rules`."""
    serving = f"sum by (plugin) ({name(c.INSTANCES)}{chosen({'health': 'serving'})})"
    known = f"sum by (plugin) ({name(c.INSTANCES)})"
    ended, failed = f"{name(c.EXECUTION_DURATION)}_count", chosen({"status": "failed"})
    lag = f"histogram_quantile(0.99, sum by (le, job, instance) (rate({name(c.LOOP_LAG)}_bucket[5m])))"
    bugs = (name(c.RECONCILER_SAVES), name(c.BUGS))
    rules = [
        alert(
            "ForgeMeshServiceIsAway",
            'up{job=~".*forgemesh.*"} == 0',
            "30s",
            "critical",
            "{{ $labels.instance }} tells no metrics: it is away, or its event loop hangs.",
        ),
        alert(
            "ForgeMeshPluginServesNobody",
            f"({known} unless {serving} > 0) > 0",
            "1m",
            "critical",
            "No instance of {{ $labels.plugin }} serves; steps that call it wait.",
        ),
        alert(
            "ForgeMeshCircuitIsOpen",
            f"sum by (plugin) ({name(c.CIRCUITS)}{chosen({'state': 'open'})}) > 0",
            "1m",
            "warning",
            "{{ $value }} instances of {{ $labels.plugin }} get no calls, since too many have failed.",
        ),
        alert(
            "ForgeMeshCallsWaitLong",
            f"max by (plugin) ({name(c.OLDEST_WAIT)}) > 60",
            "1m",
            "warning",
            "A call to {{ $labels.plugin }} has waited for {{ $value | humanizeDuration }}.",
        ),
        alert(
            "ForgeMeshPluginCrashLoops",
            f"sum by (plugin) ({name(c.HOSTS)}{chosen({'state': 'crash_loop'})}) > 0",
            "0s",
            "critical",
            "{{ $value }} processes of {{ $labels.plugin }} crash again and again, and are not started any more.",
        ),
        alert(
            "ForgeMeshExecutionsFail",
            f"sum by (workflow) (rate({ended}{failed}[10m])) / sum by (workflow) (rate({ended}[10m])) > 0.1",
            "5m",
            "warning",
            "{{ $value | humanizePercentage }} of the executions of {{ $labels.workflow }} fail.",
        ),
        alert(
            "ForgeMeshExecutionsAreSetAside",
            f"sum({name(c.EXECUTIONS_OPEN)}{chosen({'state': 'suspended'})}) > 0",
            "1m",
            "critical",
            "{{ $value }} open executions are run by nobody.",
        ),
        alert(
            "ForgeMeshEventLoopIsLate",
            f"{lag} > 0.25",
            "5m",
            "warning",
            "The event loop of {{ $labels.instance }} is late by {{ $value | humanizeDuration }}.",
        ),
        alert(
            "ForgeMeshSpansAreLost",
            f"sum by (instance) (increase({name(c.SPANS)}{chosen({'fate': 'lost'})}[10m])) > 0",
            "0s",
            "warning",
            "{{ $labels.instance }} has lost {{ $value }} spans.",
        ),
        alert(
            "ForgeMeshHasABug",
            " or ".join(f"increase({metric}[10m]) > 0" for metric in bugs) + f" or {name(c.SLOTS_LEAKED)} > 0",
            "0s",
            "warning",
            "{{ $labels.instance }} has met a bug of its own and has gone on; its log says where.",
        ),
    ]
    return {"groups": [{"name": "forgemesh", "rules": rules}]}


def written() -> dict[Path, str]:
    """The files as they have to be."""
    rules = yaml.safe_dump(alerts(), sort_keys=False, width=1000, allow_unicode=True)
    return {DASHBOARD: json.dumps(dashboard(), indent=2) + "\n", ALERTS: "# Written by generate.py.\n" + rules}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
