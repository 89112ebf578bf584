"""The dashboard and the alert rules are what the catalogue makes of them, and the manual knows every alert."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from forgemesh.chassis.metrics_endpoint import exposed_name
from forgemesh.metrics.catalogue import ALL
from forgemesh.metrics.metric import Kind

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "k8s" / "dashboards"
NAME = re.compile(r"\bforgemesh_\w+")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_dashboards", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exposed() -> set[str]:
    """Every name that Prometheus may know."""
    found = set()
    for metric in ALL:
        name = exposed_name(metric.name, metric.unit)
        endings = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
        found |= {name + ending for ending in endings[metric.kind]}
    return found


def expressions() -> list[str]:
    board = json.loads((FOLDER / "forgemesh.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return asked + [rule["expr"] for group in groups for rule in group["rules"]]


def test_they_are_as_generated(generate: ModuleType) -> None:
    for path, text in generate.written().items():
        assert path.read_text() == text, f"{path.name} is not what `make dashboards` writes"


def test_they_ask_for_metrics_that_there_are() -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}

    assert len(asked) > len(ALL) / 2
    assert asked <= exposed()


def test_they_choose_by_labels_that_the_metric_has() -> None:
    labels = {exposed_name(metric.name, metric.unit): set(metric.labels) for metric in ALL}
    for expression in expressions():
        for name, chosen in re.findall(r"\b(forgemesh_\w+)\{([^}]*)\}", expression):
            known = labels[re.sub(r"_(total|bucket|count)$", "", name)]
            assert {pair.partition("=")[0] for pair in chosen.split(",")} <= known, expression


def test_the_manual_says_of_every_alert_what_to_do() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    table = manual.partition("\n### The alerts\n")[2].partition("\n## ")[0]
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [rule["alert"] for rule in rules]


def test_prometheus_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here (Debian: apt-get install prometheus)")
    checked = subprocess.run(
        [promtool, "check", "rules", FOLDER / "alerts.yaml"], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
