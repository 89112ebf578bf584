"""
Durable, traced executions of no-op steps, so many in flight: executions/s, steps/s, CPU per step and process.

seq3 is three calls one after the other; fan10 is one call, ten at once, and one that joins them. With --bulk, that many
executions are started by one call of StartExecutions; with --client, each is started by itself, by the official client.

Usage: python -m bench.throughput [--shape seq3|fan10] [--in-flight 64] [--executions 3000] [--bulk 1 | --client]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc
import uvloop

from bench.mesh import Mesh, running_mesh
from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client import Client

Start: TypeAlias = Callable[[], Awaitable[None]]

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

STEPS = {"seq3": 3, "fan10": 12}
HERE = Path(__file__).parent
INPUT = Payload(
    data=b'{"value": {"order": "20261123-000001", "amount": 129.95, "currency": "EUR", "note": "' + b"x" * 100 + b'"}}'
)
WARM_UP = 300


@dataclass(frozen=True)
class Load:
    """What is run: `count` executions of a workflow, `in_flight` at a time, `bulk` of them by one call."""

    shape: str
    count: int
    in_flight: int
    bulk: int
    client: bool = False


async def run_executions(start: Start, load: Load) -> list[float]:
    """Start the executions and await the end of each; seconds that each call took."""
    taken: list[float] = []
    tickets = iter(range(max(1, load.count // load.bulk)))

    async def worker() -> None:
        for _ in tickets:
            began = time.perf_counter()
            await start()
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(worker() for _ in range(max(1, load.in_flight // load.bulk))))
    return taken


def by_calls(stub: OrchestratorServiceAsyncStub, shape: str, bulk: int) -> Start:
    """Starts so many executions with one call, and awaits their ends."""
    one = pb.StartExecutionRequest(workflow=f"bench-{shape}", input=INPUT, wait_millis=60_000)
    many = pb.StartExecutionsRequest(requests=[one] * bulk)

    async def start() -> None:
        if bulk == 1:
            answers = [await stub.StartExecution(one)]
        else:
            answers = [result.started for result in (await stub.StartExecutions(many)).results]
        for answer in answers:
            if answer.execution.status != execution_pb2.EXECUTION_STATUS_SUCCEEDED:
                raise SystemExit(f"an execution did not succeed: {answer.execution}")

    return start


def by_client(client: Client, shape: str) -> Start:
    """Starts one execution as users write it."""
    given = json.loads(INPUT.data)

    async def start() -> None:
        execution = await client.start(f"bench-{shape}", given, wait=60.0)
        await execution.result()

    return start


async def measure(mesh: Mesh, load: Load) -> None:
    """Warm up, run, print."""
    async with grpc.aio.insecure_channel(mesh.address) as channel, Client.connect(mesh.address) as client:
        stub: OrchestratorServiceAsyncStub = OrchestratorServiceStub(channel)
        source = (HERE / "noop" / f"{load.shape}.yaml").read_text()
        await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=source))
        start = by_client(client, load.shape) if load.client else by_calls(stub, load.shape, load.bulk)
        await run_executions(start, Load(load.shape, WARM_UP, load.in_flight, load.bulk))
        before, began = mesh.cpu_seconds(), time.perf_counter()
        taken = sorted(await run_executions(start, load))
        seconds, after = time.perf_counter() - began, mesh.cpu_seconds()
    count = len(taken) * load.bulk
    steps = count * STEPS[load.shape]
    started = f", {load.bulk} started by one call" if load.bulk > 1 else ", by the client" if load.client else ""
    print(f"{count} executions of {load.shape} ({STEPS[load.shape]} no-op steps), {load.in_flight} in flight{started};")
    print("every commit synced, every span recorded")
    print(f"  {count / seconds:8.0f} executions/s   {steps / seconds:8.0f} steps/s")
    print(f"  {statistics.median(taken) * 1e3:8.1f} ms p50        {taken[int(len(taken) * 0.99)] * 1e3:8.1f} ms p99")
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=STEPS, default="seq3")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--executions", type=int, default=3000)
    parser.add_argument("--bulk", type=int, default=1)
    parser.add_argument("--client", action="store_true")
    given = parser.parse_args()
    load = Load(given.shape, given.executions, given.in_flight, given.bulk, given.client)
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as directory:
        with running_mesh(HERE / "noop" / "forgemesh.toml", Path(directory)) as mesh:
            uvloop.run(measure(mesh, load))
        print_batches(mesh)


if __name__ == "__main__":
    main()
