"""kill -9 of containers, deletions and rollouts under load: callers with patience lose nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from forgemesh.client import Client, ExecutionFilter
from tests.k8s.live.cluster import NAMESPACE, Pod, until
from tests.k8s.live.load import load
from tests.k8s.live.mesh import NOOP, ROOT, SERVICES, ClusterMesh

RATE = 10.0

pytestmark = pytest.mark.timeout(420)


@pytest.fixture
async def client(mesh: ClusterMesh) -> AsyncIterator[Client]:
    async with Client.connect(mesh.address) as found:
        await found.register((ROOT / "bench/noop/seq3.yaml").read_text())
        yield found


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_whose_container_is_killed_comes_back_and_no_execution_is_lost(
    mesh: ClusterMesh, client: Client, service: str
) -> None:
    before = mesh.service(service)
    async with load(mesh.address, "bench-seq3", RATE) as callers:
        await callers.until(10)
        mesh.cluster.kill(before)
        killed = time.monotonic()
        await asyncio.to_thread(until, f"{service} is ready again", lambda: _again(mesh.service(service), before))
        print(f"{service}: ready again {time.monotonic() - killed:.1f} s after the kill")
        await callers.until(20)
    assert callers.failed == []
    await _nothing_open(client)
    print(f"{len(callers.succeeded)} executions, the slowest took {callers.slowest:.1f} s")


async def test_a_plugins_container_that_is_killed_costs_no_execution_and_takes_its_place_again(
    mesh: ClusterMesh, client: Client
) -> None:
    before = mesh.cluster.until_ready(NOOP, 3)[0]
    async with load(mesh.address, "bench-seq3", RATE) as callers:
        await callers.until(10)
        mesh.cluster.kill(before)
        again = await asyncio.to_thread(
            until,
            "it is ready again",
            lambda: next((one for one in _named(mesh, before.name) if _again(one, before)), None),
        )
        assert again.uid == before.uid
        await callers.until(20)
    assert callers.failed == []
    await _nothing_open(client)


@pytest.mark.parametrize(
    "workload",
    [*(f"statefulset/{name}" for name in SERVICES), "deployment/plugin-bench-noop-v1-0-0"],
)
async def test_a_rollout_fails_no_execution_and_no_patient_caller(
    mesh: ClusterMesh, client: Client, workload: str
) -> None:
    async with load(mesh.address, "bench-seq3", RATE) as callers:
        await callers.until(10)
        mesh.cluster.kubectl("rollout", "restart", "-n", NAMESPACE, workload)
        await asyncio.to_thread(mesh.cluster.kubectl, "rollout", "status", "-n", NAMESPACE, workload, "--timeout=110s")
        await callers.until(20)
    assert callers.failed == []
    await _nothing_open(client)
    print(f"{workload}: {len(callers.succeeded)} executions, the slowest took {callers.slowest:.1f} s")


async def test_executions_go_on_from_the_volume_when_the_orchestrators_pod_is_deleted(
    mesh: ClusterMesh, client: Client
) -> None:
    before = mesh.service("orchestrator")
    async with load(mesh.address, "bench-seq3", RATE) as callers:
        await callers.until(10)
        mesh.cluster.kubectl("delete", "pod", "-n", NAMESPACE, before.name, "--wait=false")
        await asyncio.to_thread(
            until,
            "another pod is ready",
            lambda: any(one.uid != before.uid and one.ready for one in _named(mesh, before.name)),
        )
        await callers.until(20)
    assert callers.failed == []
    async with Client.connect(mesh.address) as anew:
        await _nothing_open(anew)
        assert all([(await anew.execution(one)).last_seen for one in callers.succeeded[:3]])


def _named(mesh: ClusterMesh, name: str) -> list[Pod]:
    return [pod for pod in mesh.cluster.pods() if pod.name == name]


def _again(pod: Pod, before: Pod) -> Pod | None:
    """The pod, once its container runs anew and is ready."""
    return pod if pod.ready and pod.restarts > before.restarts else None


async def _nothing_open(client: Client) -> None:
    found = await client.list_executions(ExecutionFilter(open_only=True))
    assert [one.execution_id for one in found] == []
