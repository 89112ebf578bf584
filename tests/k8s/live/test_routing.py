"""Calls go to pods by their own addresses: in turn, to new ones soon, and those that end cost nobody a call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from forgemesh.client import Client, Start
from tests.k8s.live.cluster import NAMESPACE, PATIENCE, until
from tests.k8s.live.load import load
from tests.k8s.live.mesh import CODE, NOOP, ROOT, ClusterMesh

DEPLOYMENT = "deployment/plugin-bench-noop-v1-0-0"
NOTING = (
    CODE.replace("from typing", "import time\nfrom typing")
    .replace("bench.noop", "bench.noting")
    .replace("        return", '        print("called at", time.time(), flush=True)\n        return')
)
"""The plugin that does nothing, which says when it is called."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def client(mesh: ClusterMesh) -> AsyncIterator[Client]:
    async with Client.connect(mesh.address) as found:
        await found.register((ROOT / "bench/noop/seq3.yaml").read_text())
        yield found


async def test_three_replicas_get_a_third_of_3000_calls_each(mesh: ClusterMesh, client: Client) -> None:
    pods = {pod.name for pod in mesh.cluster.until_ready(NOOP, 3)}
    served: Counter[str] = Counter()
    for _ in range(20):
        served += await _served(client, 50)
    print(dict(served))
    assert set(served) == pods
    assert all(abs(count - 1000) <= 100 for count in served.values()), served


async def test_a_fourth_replica_is_used_and_costs_nobody_a_call_when_it_is_deleted(
    mesh: ClusterMesh, client: Client
) -> None:
    cluster = mesh.cluster
    before = {pod.name for pod in cluster.until_ready(NOOP, 3)}
    async with load(mesh.address, "bench-seq3", 10) as callers:
        await callers.until(5)
        cluster.kubectl("scale", "-n", NAMESPACE, DEPLOYMENT, "--replicas=4")
        pods = await asyncio.to_thread(cluster.until_ready, NOOP, 4)
        ready = time.monotonic()
        (fourth,) = [pod for pod in pods if pod.name not in before]
        async with asyncio.timeout(60):
            while fourth.name not in await _served(client, 4):
                pass
        print(f"the fourth replica was called {time.monotonic() - ready:.1f} s after it was ready")
        await asyncio.to_thread(cluster.kubectl, "delete", "pod", "-n", NAMESPACE, fourth.name, "--wait=false")
        await asyncio.to_thread(
            until, "it is gone", lambda: fourth.name not in {one.name for one in cluster.pods(NOOP)}
        )
        assert fourth.name not in await _served(client, 20)
        await callers.until(20)
        cluster.kubectl("scale", "-n", NAMESPACE, DEPLOYMENT, "--replicas=3")
        await asyncio.to_thread(cluster.until_ready, NOOP, 3)
    assert callers.failed == []


async def test_a_deleted_pod_is_called_no_more_once_it_has_its_signal(mesh: ClusterMesh, client: Client) -> None:
    cluster = mesh.cluster
    applied = mesh.noop_with(NOTING, "bench.noting", "1.0.0")
    cluster.apply(applied)
    try:
        pods = await asyncio.to_thread(cluster.until_ready, "app.kubernetes.io/name=bench.noting", 3)
        workflow = (ROOT / "bench/noop/seq3.yaml").read_text()
        await client.register(workflow.replace("bench.noop", "bench.noting").replace("bench-seq3", "noting-seq3"))
        await _served(client, 50, "noting-seq3")
        followed = asyncio.create_task(asyncio.to_thread(_until_gone, mesh, pods[0].name))
        await asyncio.to_thread(until, "it is followed", lambda: "called at" in cluster.logs(pods[0].name))
        deleted = asyncio.create_task(
            asyncio.to_thread(cluster.kubectl, "delete", "pod", "-n", NAMESPACE, pods[0].name, "--wait=true")
        )
        while not deleted.done():
            await _served(client, 50, "noting-seq3")
        await deleted
        calls, signalled = _noted(await followed)
    finally:
        for one in applied:
            cluster.kubectl("delete", "-n", NAMESPACE, f"{one['kind']}/{one['metadata']['name']}", "--wait=true")
    late = [1000 * (call - signalled) for call in calls if call > signalled]
    print(f"{len(calls)} calls, {len(late)} of them after the signal: {[f'{one:.0f} ms' for one in late]}")
    assert calls
    assert late == []


def _until_gone(mesh: ClusterMesh, pod: str) -> str:
    """All that a pod says until it ends."""
    command = [str(mesh.cluster.directory / "kubectl"), "logs", "-f", "-n", NAMESPACE, pod]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def _noted(log: str) -> tuple[list[float], float]:
    """When a pod was called, and when it had its signal, by its own clock (Unix time, seconds)."""
    calls, signals = [], []
    for line in log.splitlines():
        if line.startswith("called at"):
            calls.append(float(line.split()[-1]))
            continue
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if record["message"].startswith("stopping:"):
                signals.append(datetime.fromisoformat(record["at"]).timestamp())
    (signalled,) = signals
    return calls, signalled


async def _served(client: Client, executions: int, workflow: str = "bench-seq3") -> Counter[str]:
    """Which instances carried out the steps of so many executions."""
    started = await client.start_many(
        [Start(workflow=workflow, input={"value": number}, wait=30.0) for number in range(executions)]
    )
    found: Counter[str] = Counter()
    for one in started:
        assert not isinstance(one, Exception), one
        found.update(step.instance_id for step in (await one.wait(timeout=60)).steps)
    return found
