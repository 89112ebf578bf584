"""
Durable, traced executions of three no-op steps, so many in flight: executions/s, steps/s, CPU per step and process.

Usage: python -m bench.throughput [--in-flight 64] [--executions 3000]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import uvloop

from bench.mesh import Mesh, running_mesh
from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.payload.v1.payload_pb2 import Payload

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

STEPS = 3
HERE = Path(__file__).parent
INPUT = Payload(
    data=b'{"value": {"order": "20261123-000001", "amount": 129.95, "currency": "EUR", "note": "' + b"x" * 100 + b'"}}'
)


async def run_executions(stub: OrchestratorServiceAsyncStub, count: int, in_flight: int) -> list[float]:
    """Start `count` executions, at most `in_flight` at a time, each awaited to its end; seconds of each."""
    taken: list[float] = []
    tickets = iter(range(count))

    async def worker() -> None:
        for _ in tickets:
            began = time.perf_counter()
            request = pb.StartExecutionRequest(workflow="bench-seq3", input=INPUT, wait_millis=60_000)
            response = await stub.StartExecution(request)
            if response.execution.status != execution_pb2.EXECUTION_STATUS_SUCCEEDED:
                raise SystemExit(f"an execution did not succeed: {response.execution}")
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return taken


async def measure(mesh: Mesh, count: int, in_flight: int) -> None:
    """Warm up, run, print."""
    async with grpc.aio.insecure_channel(mesh.address) as channel:
        stub: OrchestratorServiceAsyncStub = OrchestratorServiceStub(channel)
        source = (HERE / "noop" / "seq3.yaml").read_text()
        await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=source))
        await run_executions(stub, 300, in_flight)
        before, began = mesh.cpu_seconds(), time.perf_counter()
        taken = sorted(await run_executions(stub, count, in_flight))
        seconds, after = time.perf_counter() - began, mesh.cpu_seconds()
    steps = count * STEPS
    print(f"{count} executions of {STEPS} no-op steps, {in_flight} in flight; every commit synced, every span recorded")
    print(f"  {count / seconds:8.0f} executions/s   {steps / seconds:8.0f} steps/s")
    print(f"  {statistics.median(taken) * 1e3:8.1f} ms p50        {taken[int(count * 0.99)] * 1e3:8.1f} ms p99")
    print("  CPU per step:")
    spent = {name: (after[name] - before[name]) / steps * 1e6 for name in before}
    for name, micros in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {micros:8.0f} us  {name}")
    print(f"  {sum(micros for name, micros in spent.items() if name != 'traces'):8.0f} us  all but the trace store")


def print_batches(mesh: Mesh) -> None:
    """What the orchestrator's log says of its sessions and commits, once it has stopped."""
    for record in mesh.log("orchestrator"):
        if "calls_per_frame" in record or "writes_per_commit" in record:
            print(f"  {record['message']}")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--executions", type=int, default=3000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as directory:
        with running_mesh(HERE / "noop" / "forgemesh.toml", Path(directory)) as mesh:
            uvloop.run(measure(mesh, given.executions, given.in_flight))
        print_batches(mesh)


if __name__ == "__main__":
    main()
