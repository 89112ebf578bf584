"""Versions of a plugin beside one another, and disruptions that a budget allows or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from forgemesh.client import Client
from tests.k8s.live.cluster import NAMESPACE, KubectlFailed
from tests.k8s.live.load import load
from tests.k8s.live.mesh import CODE, NOOP, ROOT, ClusterMesh

NEXT = "plugin-bench-noop-v1-1-0"
PINNED = """
name: pinned-{name}
version: 1.0.0
steps: [{{id: only, call: {{plugin: bench.noop@={version}, operation: noop}}, input: {{value: 1}}}}]
output: "${{steps.only.output}}"
"""

pytestmark = pytest.mark.timeout(420)


@pytest.fixture
async def client(mesh: ClusterMesh) -> AsyncIterator[Client]:
    async with Client.connect(mesh.address) as found:
        await found.register((ROOT / "bench/noop/seq3.yaml").read_text())
        yield found


async def test_the_next_version_serves_beside_the_last_one_which_then_leaves_without_a_failure(
    mesh: ClusterMesh, client: Client
) -> None:
    cluster = mesh.cluster
    following = mesh.noop_with(CODE.replace('version="1.0.0"', 'version="1.1.0"'), "bench.noop", "1.1.0")
    async with load(mesh.address, "bench-seq3", 10) as callers:
        await callers.until(10)
        cluster.apply(following)
        await asyncio.to_thread(cluster.until_ready, f"{NOOP},app.kubernetes.io/version=1.1.0", 3)
        for name, version in (("old", "1.0.0"), ("new", "1.1.0")):
            await client.register(PINNED.format(name=name, version=version))
            handle = await client.start(f"pinned-{name}", {})
            await handle.result(timeout=60)
            (step,) = (await handle.describe()).steps
            assert step.instance_id.startswith("plugin-bench-noop-v" + version.replace(".", "-"))
        await callers.until(10)
        cluster.kubectl("scale", "-n", NAMESPACE, "deployment/plugin-bench-noop-v1-0-0", "--replicas=0")
        await asyncio.to_thread(cluster.until_ready, f"{NOOP},app.kubernetes.io/version=1.0.0", 0)
        await callers.until(20)
        cluster.kubectl("scale", "-n", NAMESPACE, "deployment/plugin-bench-noop-v1-0-0", "--replicas=3")
        await asyncio.to_thread(cluster.until_ready, f"{NOOP},app.kubernetes.io/version=1.0.0", 3)
        cluster.kubectl("delete", "-n", NAMESPACE, f"deployment/{NEXT}", f"configmap/{NEXT}", "--wait=true")
        await asyncio.to_thread(cluster.until_ready, NOOP, 3)
        await callers.until(20)
    assert callers.failed == []


def test_a_budget_lets_one_pod_of_a_plugin_go_and_keeps_the_second(mesh: ClusterMesh) -> None:
    first, second, _ = mesh.cluster.until_ready(NOOP, 3)
    _evict(mesh, first.name)
    with pytest.raises(KubectlFailed, match=r"TooManyRequests|disruption budget"):
        _evict(mesh, second.name)
    mesh.cluster.until_ready(NOOP, 3)


def test_a_drain_of_the_node_is_held_up_by_no_budget_of_a_service(mesh: ClusterMesh) -> None:
    arguments = ("--dry-run=server", "--ignore-daemonsets", "--delete-emptydir-data", "--force")
    said = mesh.cluster.kubectl("drain", "node1", *arguments)
    assert all(mesh.service(name).name in said for name in ("registry", "orchestrator"))


def _evict(mesh: ClusterMesh, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    mesh.cluster.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(eviction))
