"""Every overlay and component renders without a network, fits strict schemas, and means what the code needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from forgemesh.plugin_host.host.plugin.loader import load_definition
from tests.architecture.repository import ROOT
from tests.component.k8s.ladder import problems
from tests.component.k8s.manifests import K8S, Manifests, render
from tests.component.k8s.pods import pod_problems
from tests.component.k8s.processes import processes
from tests.component.k8s.schemas import NEWEST, schema_problems
from tests.component.k8s.sources import copy_of_k8s, with_every_component, with_own_overlay

OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_has_no_problem(overlay: str) -> None:
    assert problems(render(K8S / "overlays" / overlay)) == []


def test_all_components_together_have_no_problem(tmp_path: Path) -> None:
    overlay = with_every_component(copy_of_k8s(tmp_path))
    rendered = render(overlay)

    assert problems(rendered) == []
    assert list(schema_problems(rendered, NEWEST)) == []
    kinds = {document["kind"] for document in rendered.documents}
    assert kinds >= {"ScaledObject", "HorizontalPodAutoscaler", "GRPCRoute", "NetworkPolicy", "PodDisruptionBudget"}


def test_a_component_changes_nothing_that_a_cluster_would_refuse_to_change(tmp_path: Path) -> None:
    """A mesh that runs is to take any of them by `kubectl apply`."""
    before = {one.title: one.spec for one in render(K8S / "overlays" / "example").workloads}
    after = {one.title: one.spec for one in render(with_every_component(copy_of_k8s(tmp_path))).workloads}

    changed = [
        f"{title}: {name}"
        for title, spec in before.items()
        for name in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
        if spec.get(name) != after[title].get(name)
    ]
    assert before.keys() < after.keys()
    assert changed == []


def test_the_base_fits_its_schemas_and_lacks_only_places_for_data() -> None:
    base = render(K8S / "base")

    assert list(schema_problems(base)) == []
    assert [name for process in processes(base) for name in process.mistakes] == []
    assert {str(process.value("database")) for process in processes(base)} == {
        f".forgemesh/{name}.db" for name in ("registry", "balancer", "orchestrator", "traces")
    }


def test_an_overlay_of_ones_own_is_made_as_the_readme_says(tmp_path: Path) -> None:
    rendered = render(with_own_overlay(copy_of_k8s(tmp_path)))

    assert problems(rendered) == []
    pods = [one.pod for one in rendered.workloads if one.name != "collector"]
    assert {container["image"] for pod in pods for container in pod["containers"]} == {
        "REGISTRY/forgemesh:0.1.0",
        "REGISTRY/words:1.0.0",
    }
    assert [pod["imagePullSecrets"] for pod in pods] == [[{"name": "pull"}]] * len(pods)
    (claim,) = {str(one.spec["volumeClaimTemplates"]) for one in rendered.workloads if one.kind == "StatefulSet"}
    assert "'storageClassName': 'fast'" in claim
    assert "'storage': '20Gi'" in claim


def test_the_pod_that_holds_a_volume_is_admitted() -> None:
    keeper = yaml.safe_load((K8S / "keeper.yaml").read_text(encoding="utf-8"))
    example = render(K8S / "overlays" / "example")
    claims = {
        f"{claim['metadata']['name']}-{one.name}-0"
        for one in example.workloads
        for claim in one.spec.get("volumeClaimTemplates", ())
    }

    assert list(schema_problems(Manifests((keeper,)))) == []
    assert list(pod_problems(Manifests((example.namespace, keeper)))) == []
    (volume,) = keeper["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_every_component_is_looked_at(tmp_path: Path) -> None:
    k8s = copy_of_k8s(tmp_path)
    with_every_component(k8s)
    taken = "".join(path.read_text(encoding="utf-8") for path in (k8s / "overlays").rglob("kustomization.yaml"))

    assert [name for name in COMPONENTS if f"components/{name}" not in taken] == []


def test_the_labels_of_the_example_are_what_its_plugins_say() -> None:
    hosts = [one for one in processes(render(K8S / "overlays" / "example")) if one.section == "host"]
    said = {}
    for host in hosts:
        assert host.environment["FORGEMESH_HOST_PATH"] == "/opt/plugins/weather"
        definition = load_definition(str(host.value("load")), [str(ROOT / "examples" / "weather" / "plugins")])
        said[host.workload.name] = (definition.plugin_id, definition.version)

    assert said == {
        host.workload.name: (
            host.workload.labels["app.kubernetes.io/name"],
            host.workload.labels["app.kubernetes.io/version"],
        )
        for host in hosts
    }
    replicas = {host.workload.labels["app.kubernetes.io/name"]: host.workload.spec["replicas"] for host in hosts}
    assert replicas == {"weather.reader": 1, "weather.prepare": 2, "weather.stats": 2, "weather.report": 1}
