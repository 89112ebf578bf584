"""The overlay `example`, applied to a real cluster: admitted, probed, at work, and quiet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from forgemesh.client import Client
from tests.k8s.live.cluster import NAMESPACE
from tests.k8s.live.mesh import OVERLAY, ROOT, SERVICES, ClusterMesh
from tests.k8s.live.usage import memory_held, said

WORKFLOW = ROOT / "examples/weather/workflow.yaml"
DATA = "/opt/plugins/weather/data/seattle-weather-2012.csv"

pytestmark = pytest.mark.timeout(300)


def test_every_pod_is_admitted_under_the_restricted_standard_without_a_warning(mesh: ClusterMesh) -> None:
    labels = mesh.cluster.read("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    mesh.cluster.apply(OVERLAY)  # again: a warning would be an error
    assert all(pod.restarts == 0 for pod in mesh.until_settled())


def test_a_workflow_started_from_outside_the_pods_finishes(mesh: ClusterMesh) -> None:
    done = mesh.cli("run", str(WORKFLOW), "-i", f"path={DATA}", "-i", "directory=/tmp")
    assert json.loads(done.stdout)["path"].startswith("/tmp/")


async def test_one_trace_leads_through_every_pod_that_took_part(mesh: ClusterMesh) -> None:
    async with Client.connect(mesh.address) as client:
        await client.register((ROOT / "bench/noop/seq3.yaml").read_text())
        handle = await client.start("bench-seq3", {"value": 7})
        assert await handle.result(timeout=60) == {"value": 7}
    shown = mesh.cli("trace", "show", handle.id).stdout
    assert shown.count("execute bench.noop/noop") == 3


def test_what_cannot_be_reached_from_outside_the_pods_is_named_with_what_to_forward(mesh: ClusterMesh) -> None:
    done = replace(mesh, forwarded={}).cli("status", check=False)
    assert "kubectl" in done.stdout + done.stderr
    assert "FORGEMESH_REGISTRY" in done.stdout + done.stderr


def test_no_pod_at_rest_has_logged_an_error(mesh: ClusterMesh) -> None:
    errors = {
        pod.name: [line for line in mesh.cluster.log_lines(pod.name) if line["level"] in ("ERROR", "CRITICAL", "")]
        for pod in mesh.until_settled()
    }
    assert {name: lines for name, lines in errors.items() if lines} == {}


def test_each_pod_at_rest_holds_less_than_four_fifths_of_the_memory_it_requests(mesh: ClusterMesh) -> None:
    shares = {pod.name: memory_held(pod) / said(pod, "requests", "memory") for pod in mesh.until_settled()}
    print({name: round(share, 2) for name, share in sorted(shares.items())})
    assert {name: share for name, share in shares.items() if share >= 0.8} == {}


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_cannot_write_its_own_image(mesh: ClusterMesh, service: str) -> None:
    pod = mesh.service(service)
    program = (
        "import errno, os\n"
        "try: open('/opt/x', 'w')\n"
        "except OSError as error: print(os.getuid(), errno.errorcode[error.errno])"
    )
    printed = mesh.cluster.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "python", "-c", program)
    assert printed.split() == ["65532", "EROFS"]
