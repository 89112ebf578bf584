"""The catalogue of metrics: names as the field has them, and every one of them in the manual."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forgemesh.chassis.metrics_endpoint import exposed_name
from forgemesh.metrics.catalogue import ALL
from forgemesh.metrics.metric import Kind, Metric

MANUAL = Path(__file__).parents[3] / "docs" / "operations.md"
UNBOUNDED = re.compile(r"execution_id|run|trace|span|request|key")


def test_the_names_are_unique() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_name_has_dots_and_its_labels_stand_for_few_things(metric: Metric) -> None:
    assert re.fullmatch(r"forgemesh(\.[a-z_]+)+", metric.name)
    assert metric.tells.endswith(".")
    assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.bounds) == sorted(set(metric.bounds))
    assert not [label for label in metric.labels if UNBOUNDED.fullmatch(label)]


def test_the_manual_lists_exactly_these_with_their_labels() -> None:
    text = MANUAL.read_text().partition("\n### The metrics\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in text.splitlines() if "| `" in line]
    listed = {row[0]: (row[1], row[2].replace("`", ""), row[3]) for row in rows}

    assert listed == {
        _exposed(metric): (metric.kind.value, ", ".join(metric.labels), metric.tells.rstrip(".")) for metric in ALL
    }


def _exposed(metric: Metric) -> str:
    return exposed_name(metric.name, metric.unit) + ("_total" if metric.kind is Kind.COUNTER else "")
