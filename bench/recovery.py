"""
kill -9 of the orchestrator with so many open executions: how long until the first and until all of them run again.

Each has made one call and waits for a signal; after the kill all of them get it, and end.

Usage: python -m bench.recovery [--executions 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import uvloop

from bench.mesh import Mesh, running_mesh
from bench.throughput import HERE, INPUT
from forgemesh.api.orchestrator.v1 import control_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

BULK = 500
PATIENCE = 300.0


async def until(ask: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until the answer is yes; no answer is a no."""
    began = time.perf_counter()
    while time.perf_counter() - began < PATIENCE:
        try:
            if await ask():
                return time.perf_counter() - began
        except grpc.aio.AioRpcError:
            pass
        await asyncio.sleep(0.01)
    raise SystemExit(f"it did not come about within {PATIENCE:g} s")


async def start_all(stub: OrchestratorServiceAsyncStub, count: int) -> list[str]:
    """Start the executions; their ids."""
    ids: list[str] = []
    one = pb.StartExecutionRequest(workflow="bench-waiting", input=INPUT)
    while len(ids) < count:
        answer = await stub.StartExecutions(pb.StartExecutionsRequest(requests=[one] * min(BULK, count - len(ids))))
        ids += [result.started.execution.execution_id for result in answer.results]
    return ids


async def signal_all(stub: OrchestratorServiceAsyncStub, ids: list[str]) -> None:
    """Let them go on."""
    go = control_pb2.SignalExecutionRequest(signal=control_pb2.Signal(name="go"))
    for start in range(0, len(ids), BULK):
        request = control_pb2.ControlExecutionsRequest(execution_ids=ids[start : start + BULK], signal=go)
        answer = await stub.ControlExecutions(request)
        refused = [result for result in answer.results if result.HasField("refused")]
        if refused:
            raise SystemExit(f"a signal was refused: {refused[0]}")


async def measure(mesh: Mesh, count: int) -> None:
    """Start, kill, watch, print."""
    async with grpc.aio.insecure_channel(mesh.address) as channel:
        stub: OrchestratorServiceAsyncStub = OrchestratorServiceStub(channel)
        source = (HERE / "noop" / "waiting.yaml").read_text()
        await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=source))
        ids = await start_all(stub, count)

        async def running(at_least: int) -> bool:
            state = await stub.GetOrchestrator(pb.GetOrchestratorRequest(), timeout=2)
            return state.epoch > epoch and state.running >= at_least

        epoch = (await stub.GetOrchestrator(pb.GetOrchestratorRequest())).epoch
        os.kill(mesh.pids["orchestrator"], signal.SIGKILL)
        began = time.perf_counter()
        first = await until(lambda: running(1))
        await until(lambda: running(count))
        everything = time.perf_counter() - began
        began = time.perf_counter()
        await signal_all(stub, ids)

        async def over() -> bool:
            state = await stub.GetOrchestrator(pb.GetOrchestratorRequest(), timeout=2)
            return state.running == 0

        await until(over)
        ended = time.perf_counter() - began
        state = await stub.GetOrchestrator(pb.GetOrchestratorRequest())
    print(f"{count} open executions, kill -9 of the orchestrator (its restart included):")
    print(f"  {first:6.2f} s to the first that runs again, {everything:.2f} s to all")
    print(f"  {ended:6.2f} s for all of them to get their signal, call once more and end")
    print(f"  saved by the sweep: {state.saved_by_sweep}, leaked places: {state.leaked_slots}")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=10_000)
    given = parser.parse_args()
    plugins = HERE / "noop" / "forgemesh.toml"
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as data, running_mesh(plugins, Path(data)) as mesh:
        uvloop.run(measure(mesh, given.executions))


if __name__ == "__main__":
    main()
