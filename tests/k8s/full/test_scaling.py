"""The two autoscalers at work: KEDA by what the balancer tells it, Kubernetes' own by what metrics-server measures."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from forgemesh.client import Client
from tests.k8s.live.cluster import NAMESPACE, Cluster, KubectlFailed, until
from tests.k8s.live.fence import may_connect, peers_of
from tests.k8s.live.mesh import ClusterMesh

OVERLAY = Path(__file__).parent / "overlay"
HOLDING, BURNING = "plugin-bench-holding-v1-0-0", "plugin-bench-burning-v1-0-0"
WORKFLOW = """
name: {operation}-{seconds}
version: 1.0.0
steps: [{{id: only, call: {{plugin: bench.{plugin}, operation: {operation}}}, input: {{seconds: {seconds}}}}}]
"""
PATIENCE = 420.0
"""Seconds for what autoscalers do in steps of a quarter of a minute, on a machine that others use."""

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def scaled(mesh: ClusterMesh) -> Iterator[ClusterMesh]:
    """The mesh with the two plugins published, and scaled from what each begins with."""
    mesh.cli("plugin", "publish", "elastic_plugin:Holding", "elastic_plugin:Burning", cwd=OVERLAY)
    mesh.cluster.apply(OVERLAY)
    yield mesh
    for kind in ("scaledobjects", "horizontalpodautoscalers", "deployments"):
        names = "app.kubernetes.io/name in (bench.holding,bench.burning)"
        mesh.cluster.kubectl("delete", kind, "-n", NAMESPACE, "-l", names, "--wait=true", "--timeout=90s")


@pytest.fixture
async def client(mesh: ClusterMesh) -> AsyncIterator[Client]:
    async with Client.connect(mesh.address) as found:
        yield found


def test_keda_of_its_own_manifests_may_ask_the_balancer(mesh: ClusterMesh) -> None:
    (keda,) = [one for one in peers_of(mesh.cluster) if one.name.startswith("keda-operator")]
    (balancer,) = [one for one in peers_of(mesh.cluster) if one.name == "balancer-0"]
    policies = mesh.cluster.read("networkpolicies", "-A")["items"]

    assert may_connect(policies, keda, balancer, 7403)


async def test_keda_brings_a_plugin_that_never_ran_from_no_pod_to_three_and_back(
    scaled: ClusterMesh, client: Client
) -> None:
    cluster = scaled.cluster
    await asyncio.to_thread(until, "KEDA has made its autoscaler", lambda: _has_autoscaler(cluster), cluster.story)
    await asyncio.to_thread(until, "nobody is there", lambda: _pods(cluster, HOLDING) == 0, cluster.story)
    await client.register(WORKFLOW.format(plugin="holding", operation="hold", seconds=60))
    began = time.monotonic()

    handles = [await client.start("hold-60", {}) for _ in range(12)]
    for count in (1, 3):
        await _until_ready(cluster, HOLDING, count)
        print(f"{count} ready {time.monotonic() - began:.0f} s after the first call{_load()}")
    await asyncio.gather(*(one.result(timeout=PATIENCE) for one in handles))
    ended = time.monotonic()
    await _until_there_are(cluster, HOLDING, 0)
    print(f"none is there {time.monotonic() - ended:.0f} s after the last call{_load()}")


async def test_a_plain_autoscaler_adds_pods_for_processor_time_and_takes_them_away(
    scaled: ClusterMesh, client: Client
) -> None:
    cluster = scaled.cluster
    await _until_ready(cluster, BURNING, 1)
    await client.register(WORKFLOW.format(plugin="burning", operation="burn", seconds=120))
    began = time.monotonic()

    handles = [await client.start("burn-120", {}) for _ in range(2)]
    await _until_ready(cluster, BURNING, 2, or_more=True)
    print(f"a second one is ready {time.monotonic() - began:.0f} s after the load began{_load()}")
    await asyncio.gather(*(one.result(timeout=PATIENCE) for one in handles))
    ended = time.monotonic()
    await _until_there_are(cluster, BURNING, 1)
    print(f"one is left {time.monotonic() - ended:.0f} s after the load ended{_load()}")


async def _until_ready(cluster: Cluster, deployment: str, count: int, *, or_more: bool = False) -> None:
    def ready() -> bool:
        found = _status(cluster, deployment, "readyReplicas")
        return found >= count if or_more else found == count

    await asyncio.to_thread(until, f"{count} of {deployment} are ready", ready, lambda: _story(cluster), PATIENCE)


async def _until_there_are(cluster: Cluster, deployment: str, count: int) -> None:
    await asyncio.to_thread(
        until,
        f"there are {count} of {deployment}",
        lambda: _pods(cluster, deployment) == count,
        lambda: _story(cluster),
        PATIENCE,
    )


def _status(cluster: Cluster, deployment: str, key: str) -> int:
    return int(cluster.read("deployment", deployment)["status"].get(key, 0))


def _pods(cluster: Cluster, deployment: str) -> int:
    return _status(cluster, deployment, "replicas")


def _has_autoscaler(cluster: Cluster) -> bool:
    return any(HOLDING in one["metadata"]["name"] for one in cluster.read("hpa")["items"])


def _load() -> str:
    return f"; load average {os.getloadavg()[0]:.1f}"


def _story(cluster: Cluster) -> str:
    """What to look at when an autoscaler does not do its work."""
    told = [cluster.story()]
    told += [cluster.kubectl("describe", kind, "-n", NAMESPACE)[-4000:] for kind in ("hpa", "scaledobjects")]
    try:
        told.append(cluster.kubectl("logs", "-n", "keda", "deployment/keda-operator", "--tail=20"))
    except KubectlFailed as error:
        told.append(str(error))
    return "\n".join(told)
