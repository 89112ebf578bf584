"""
A three-step workflow at a steady rate while everything is killed, restarted and replaced: no call fails, no execution
is lost, each has one whole trace, and nobody runs out of memory. Figures are printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
from forgemesh.api.traces.v1.trace_service_pb2 import GetTraceRequest, ListTracesRequest
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.chassis.channel import LARGEST, connect
from forgemesh.cli.trace_arrival import missing
from forgemesh.client import Client, ExecutionFilter
from tests.k8s.live.cluster import NAMESPACE, Pod, until
from tests.k8s.live.load import Load, load
from tests.k8s.live.mesh import CODE, NOOP, ROOT, SERVICES, ClusterMesh
from tests.k8s.live.usage import memory_held, processor_time, said, was_out_of_memory

if TYPE_CHECKING:
    from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceAsyncStub

RATES = (50.0, 20.0, 10.0, 5.0)
IDLE = 0.2
"""Of the machine, which the load has to leave."""
BACK = 2.0
"""Seconds from the start of the orchestrator's container until it takes work."""
HEALTH = {"orchestrator": 7501, "registry": 7502, "balancer": 7503, "traces": 7505}
_LOOK = 0.02

pytestmark = pytest.mark.timeout(2400)


@pytest.fixture
async def client(mesh: ClusterMesh) -> AsyncIterator[Client]:
    async with Client.connect(mesh.address) as found:
        await found.register((ROOT / "bench/noop/seq3.yaml").read_text())
        yield found


def test_each_pod_at_rest_takes_less_than_four_fifths_of_what_it_requests(mesh: ClusterMesh) -> None:
    pods = mesh.until_settled()
    before, began = {pod.name: processor_time(pod) for pod in pods}, time.monotonic()
    time.sleep(20)  # what is taken in a while has no other sign
    passed = time.monotonic() - began
    shares = {
        pod.name: (
            (processor_time(pod) - before[pod.name]) / passed / said(pod, "requests", "cpu"),
            memory_held(pod) / said(pod, "requests", "memory"),
        )
        for pod in pods
    }
    for name, (processor, memory) in sorted(shares.items()):
        print(f"{name} at rest: {processor:.0%} of its processor, {memory:.0%} of its memory{_load()}")
    assert {name: share for name, share in shares.items() if max(share) >= 0.8} == {}


async def test_kills_rollouts_and_versions_under_load_cost_no_call_no_execution_and_no_trace(
    mesh: ClusterMesh, client: Client
) -> None:
    rate = await _steady_rate(mesh)
    most: Counter[str] = Counter()
    async with load(mesh.address, "bench-seq3", rate) as callers, _watching_memory(mesh, most):
        await callers.until(20)
        back = {name: await _killed(mesh, name) for name in SERVICES}
        await callers.until(20)
        await _plugin_killed(mesh)
        for workload in await asyncio.to_thread(_workloads, mesh):
            await _step(f"rollout of {workload}", callers, partial(_rolled_out, mesh, workload))
        await _step("the next version", callers, partial(_next_version, mesh))
        await callers.until(20)
    print(
        f"{len(callers.succeeded)} executions at {rate:g} a second, the slowest took {callers.slowest:.1f} s{_load()}"
    )
    assert callers.failed == []
    found = await client.list_executions(ExecutionFilter(open_only=True))
    assert [one.execution_id for one in found] == []
    await _one_whole_trace_each(mesh, client, callers.succeeded)
    pods = await asyncio.to_thread(mesh.until_settled)
    limits = {pod.name: said(pod, "limits", "memory") for pod in pods}
    for name, held in sorted(most.items()):
        print(f"{name} held at most {held / (1 << 20):.0f} MiB")
    assert {name: held for name, held in most.items() if name in limits and held >= limits[name]} == {}
    assert [pod.name for pod in pods if was_out_of_memory(pod)] == []
    assert back["orchestrator"] <= BACK


async def _steady_rate(mesh: ClusterMesh) -> float:
    """The highest rate that leaves a fifth of the machine idle, or the lowest."""
    for rate in RATES:
        async with load(mesh.address, "bench-seq3", rate) as callers:
            await callers.until(10)
            before = _processor_ticks()
            await asyncio.sleep(10)  # what is idle in a while has no other sign
            idle = _idle(before, _processor_ticks())
        print(f"{rate:g} executions a second leave {idle:.0%} of the machine idle{_load()}")
        if idle >= IDLE:
            return rate
    return RATES[-1]


async def _killed(mesh: ClusterMesh, service: str) -> float:
    """Kill the container of a service; how many seconds after its start it takes work again."""
    before = await asyncio.to_thread(mesh.service, service)
    killed = time.clock_gettime(time.CLOCK_BOOTTIME)
    await asyncio.to_thread(mesh.cluster.kill, before)
    ready = await _ready_again(f"{before.address}:{HEALTH[service]}", mesh, before)
    after = await asyncio.to_thread(until, "it runs anew", lambda: _restarted(mesh.service(service), before))
    started = _started(mesh, after)
    print(f"{service}: started {started - killed:.1f} s after the kill, ready {ready - started:.2f} s later{_load()}")
    return ready - started


async def _ready_again(address: str, mesh: ClusterMesh, before: Pod) -> float:
    """When its health says so (boot time, seconds); what the killed process said does not count."""
    gone = False
    async with asyncio.timeout(120):
        while True:
            async with connect(address) as channel:
                try:
                    answer = await HealthStub(channel).Check(HealthCheckRequest(service="readiness"), timeout=0.5)
                except grpc.aio.AioRpcError:
                    gone = True
                else:
                    if gone and answer.status == HealthCheckResponse.SERVING:
                        return time.clock_gettime(time.CLOCK_BOOTTIME)
            await asyncio.sleep(_LOOK)


def _restarted(pod: Pod, before: Pod) -> Pod | None:
    return pod if pod.ready and pod.restarts > before.restarts else None


def _started(mesh: ClusterMesh, pod: Pod) -> float:
    """When the process of its container began (boot time, seconds)."""
    command = ["ctr", "-a", str(mesh.cluster.directory / "containerd.sock"), "-n", "k8s.io", "tasks", "ls"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    (process,) = [line.split()[1] for line in told.splitlines() if line.startswith(pod.container)]
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


async def _plugin_killed(mesh: ClusterMesh) -> None:
    before = (await asyncio.to_thread(mesh.cluster.until_ready, NOOP, 3))[0]
    killed = time.monotonic()
    await asyncio.to_thread(mesh.cluster.kill, before)
    await asyncio.to_thread(
        until,
        "the plugin's container runs anew",
        lambda: next(
            (one for one in mesh.cluster.pods(NOOP) if one.name == before.name and _restarted(one, before)), None
        ),
    )
    print(f"a plugin: ready {time.monotonic() - killed:.1f} s after the kill{_load()}")


def _workloads(mesh: ClusterMesh) -> list[str]:
    kinds = ("statefulset", "deployment")
    return [f"{kind}/{one['metadata']['name']}" for kind in kinds for one in mesh.cluster.read(kind)["items"]]


async def _rolled_out(mesh: ClusterMesh, workload: str) -> None:
    kubectl = mesh.cluster.kubectl
    await asyncio.to_thread(kubectl, "rollout", "restart", "-n", NAMESPACE, workload)
    await asyncio.to_thread(kubectl, "rollout", "status", "-n", NAMESPACE, workload, "--timeout=110s")


async def _next_version(mesh: ClusterMesh) -> None:
    """Version 1.1.0 of the plugin beside 1.0.0, which then leaves and comes back."""
    cluster, old = mesh.cluster, f"{NOOP},app.kubernetes.io/version=1.0.0"
    following = mesh.noop_with(CODE.replace('version="1.0.0"', 'version="1.1.0"'), "bench.noop", "1.1.0")
    await asyncio.to_thread(cluster.apply, following)
    await asyncio.to_thread(cluster.until_ready, f"{NOOP},app.kubernetes.io/version=1.1.0", 3)
    scale = ("scale", "-n", NAMESPACE, "deployment/plugin-bench-noop-v1-0-0")
    for count in (0, 3):
        await asyncio.to_thread(cluster.kubectl, *scale, f"--replicas={count}")
        await asyncio.to_thread(cluster.until_ready, old, count)
    names = [f"{one['kind'].lower()}/{one['metadata']['name']}" for one in following]
    await asyncio.to_thread(cluster.kubectl, "delete", "-n", NAMESPACE, *names, "--wait=true")
    await asyncio.to_thread(cluster.until_ready, NOOP, 3)


async def _step(name: str, callers: Load, act: Callable[[], Awaitable[None]]) -> None:
    began, before = time.monotonic(), len(callers.succeeded)
    await act()
    took, served = time.monotonic() - began, len(callers.succeeded) - before
    print(f"{name}: {took:.0f} s, in which {served} executions ended{_load()}")


async def _one_whole_trace_each(mesh: ClusterMesh, client: Client, executions: list[str]) -> None:
    async with connect(mesh.forwarded["FORGEMESH_TRACES"], receive_limit=LARGEST) as channel:
        traces: TraceServiceAsyncStub = TraceServiceStub(channel)
        incomplete: dict[str, list[str]] = {}
        for execution in executions:
            seen = await (await client.execution(execution)).describe()
            if gaps := await _gaps(traces, seen):
                incomplete[execution] = gaps
        found = await _traces_by_execution(traces)
    print(f"{len(executions)} traces read, {len(incomplete)} of them with gaps")
    assert incomplete == {}
    assert {one: found[one] for one in executions if found[one] != 1} == {}


async def _gaps(traces: TraceServiceAsyncStub, seen: Execution) -> list[str]:
    """What is missing from the trace of an execution, after the time that spans may take to arrive."""
    end = time.monotonic() + 15
    while True:
        try:
            answer = await traces.GetTrace(GetTraceRequest(trace_id=seen.trace_id), timeout=30)
            gaps = missing(list(answer.spans), seen)
        except grpc.aio.AioRpcError as error:
            gaps = [str(error.details())]
        if not gaps or time.monotonic() > end:
            return gaps
        await asyncio.sleep(0.5)


async def _traces_by_execution(traces: TraceServiceAsyncStub) -> Counter[str]:
    """How many traces each execution has spans in."""
    found: Counter[str] = Counter()
    request = ListTracesRequest(page_size=500)
    while True:
        page = await traces.ListTraces(request, timeout=60)
        found.update(one.execution_id for one in page.traces)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@contextlib.asynccontextmanager
async def _watching_memory(mesh: ClusterMesh, most: Counter[str]) -> AsyncIterator[None]:
    """Note the most memory that each pod holds while the block runs."""

    async def watch() -> None:
        while True:
            for pod in await asyncio.to_thread(mesh.cluster.pods):
                with contextlib.suppress(OSError, ValueError):  # it has just gone
                    most[pod.name] = max(most[pod.name], memory_held(pod))
            await asyncio.sleep(2)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def _processor_ticks() -> list[int]:
    return [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _idle(before: list[int], after: list[int]) -> float:
    """The share of time between two looks in which a processor had nothing to do."""
    passed = [now - then for then, now in zip(before, after, strict=True)]
    return (passed[3] + passed[4]) / sum(passed)


def _load() -> str:
    return f"; load average {os.getloadavg()[0]:.1f}"
