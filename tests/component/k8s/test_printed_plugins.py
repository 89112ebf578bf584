"""What `forgemesh k8s manifest` prints takes the place of a plugin in the example, and every check holds for it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import yaml

from forgemesh.cli.kubernetes.document import document_of
from forgemesh.cli.kubernetes.objects import objects_of
from forgemesh.cli.kubernetes.workload import Limits, Scaling, Workload
from forgemesh.routing.scaling import ScaleRule
from tests.component.k8s.ladder import problems
from tests.component.k8s.manifests import K8S, Manifests, render
from tests.component.k8s.pods import pod_problems
from tests.component.k8s.references import reference_problems
from tests.component.k8s.schemas import schema_problems

STATS = Workload(
    plugin_id="weather.stats",
    version="1.2.0",
    load="weather_stats:WeatherStats",
    image="localhost/forgemesh:dev",
    description="Summaries of daily weather.",
    section="weather-stats",
    path=("/opt/plugins/weather",),
    namespace="forgemesh",
    instances=2,
    rule=ScaleRule(least=1, most=5),
    environment={"WEATHER_PAUSE": "0", "y": "1e3"},
)
NAME = "plugin-weather-stats-v1-2-0"


@cache
def _example() -> Manifests:
    return render(K8S / "overlays" / "example")


def in_the_example(workload: Workload) -> Manifests:
    """The example with the printed objects in place of its own for that plugin."""
    printed: list[dict[str, Any]] = list(yaml.safe_load_all(document_of(objects_of(workload))))
    names = {(one["kind"], one["metadata"]["name"]) for one in printed} | {("ServiceAccount", NAME)}
    kept = [one for one in _example().documents if (one["kind"], one["metadata"]["name"]) not in names]
    assert len(kept) < len(_example().documents)
    return Manifests((*kept, *printed))


def problems_of(workload: Workload) -> list[str]:
    """Also those of the Job, which runs no process of the mesh that would have ports, probes and replicas."""
    everything = in_the_example(workload)
    without = Manifests(tuple(one for one in everything.documents if one["kind"] != "Job"))
    return [
        *schema_problems(everything),
        *pod_problems(everything),
        *reference_problems(everything),
        *problems(without),
    ]


@pytest.mark.parametrize("scaling", ["none", "keda", "hpa"])
def test_a_printed_plugin_has_no_problem_in_the_mesh(scaling: Scaling) -> None:
    assert problems_of(replace(STATS, scaling=scaling)) == []


def test_limits_a_configuration_and_a_long_grace_have_no_problem_either() -> None:
    workload = replace(
        STATS,
        limits=Limits(memory_bytes=2**30, open_files=512),
        config=json.dumps({"password": {"file": "/run/secrets/db/password"}}),
        pull_secrets=("pull",),
        grace=600,
        start_seconds=120,
    )

    assert problems_of(workload) == []


def test_the_checks_look_at_what_is_printed() -> None:
    strange = replace(STATS, environment={"FORGEMESH_HOST_GRACES": "5"})

    assert "FORGEMESH_HOST_GRACES: unknown setting" in "\n".join(problems_of(strange))
