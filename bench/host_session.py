"""
No-op calls on one session of a plugin host, so many in flight: calls/s and CPU of the host per call, spans included.

Usage: python -m bench.host_session [--in-flight 64] [--calls 30000] [--unsampled]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.trace_context import TraceParent

TICKS = os.sysconf("SC_CLK_TCK")
PLUGINS = Path(__file__).parent / "noop"
INPUT = b'{"value": {"order": "20261123-000001", "amount": 129.95, "currency": "EUR", "note": "' + b"x" * 100 + b'"}}'


class Caller:
    """Sends what waits as one message, as an orchestrator does."""

    def __init__(self, call: Any, traceparent: str) -> None:
        self._call = call
        self._traceparent = traceparent
        self._waiting: list[invocation_pb2.Invocation] = []
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._woken = asyncio.Event()
        self._ids = 0

    async def call(self) -> None:
        """One call and its answer."""
        self._ids += 1
        invocation = invocation_pb2.Invocation(
            call_id=self._ids,
            operation="noop",
            execution_id="01JDBENCH0000000000000000",
            step_path="first",
            attempt=1,
            idempotency_key="01JDBENCH0000000000000000/first",
            remaining_millis=60_000,
            traceparent=self._traceparent,
        )
        invocation.input.data = INPUT
        self._answers[self._ids] = answer = asyncio.get_running_loop().create_future()
        self._waiting.append(invocation)
        self._woken.set()
        await answer

    async def write(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._call.write(session_pb2.SessionRequest(invocations=batch))

    async def read(self) -> None:
        """Until the host closes the session."""
        while (response := await self._call.read()) is not grpc.aio.EOF:
            for result in response.results:
                if result.HasField("failure"):
                    raise SystemExit(f"a call failed: {result.failure}")
                self._answers.pop(result.call_id).set_result(None)


async def run_calls(caller: Caller, count: int, in_flight: int) -> None:
    """Make `count` calls, at most `in_flight` at a time."""
    tickets = iter(range(count))

    async def worker() -> None:
        for _ in tickets:
            await caller.call()

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def measure(address: str, pid: int, count: int, in_flight: int, sampled: bool) -> None:
    """Warm up, run, print."""
    async with connect(address) as channel, asyncio.TaskGroup() as tasks:
        call = PluginServiceStub(channel).Session()
        hello = session_pb2.ClientHello(protocol_min=1, protocol_max=1, caller_id="bench")
        await call.write(session_pb2.SessionRequest(hello=hello))
        first: Any = await call.read()
        credits_held = first.credits
        if credits_held < in_flight:
            raise SystemExit(f"the host grants {credits_held} credits, that many may be in flight")
        caller = Caller(call, str(TraceParent(secrets.token_bytes(16), secrets.token_bytes(8), sampled)))
        beside = [tasks.create_task(caller.write()), tasks.create_task(caller.read())]
        await run_calls(caller, 2_000, in_flight)
        before, began = cpu_seconds(pid), time.perf_counter()
        await run_calls(caller, count, in_flight)
        took = time.perf_counter() - began
        await asyncio.sleep(1)  # the last spans leave
        used = (cpu_seconds(pid) - before) / count * 1e6
        print(f"{in_flight} in flight: {count / took:,.0f} calls/s, {used:.0f} us of host CPU per call")
        for task in beside:
            task.cancel()


def cpu_seconds(pid: int) -> float:
    """CPU that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[str]:
    """Something that takes spans and forgets them."""

    async def export(request: bytes, context: object) -> ExportTraceServiceResponse:
        return ExportTraceServiceResponse()

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(
        export, response_serializer=ExportTraceServiceResponse.SerializeToString
    )
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


@contextlib.contextmanager
def running_host(traces: str) -> Iterator[tuple[str, int]]:
    """Address and pid of a host of the no-op plugin."""
    reading, writing = os.pipe()
    environment = {
        **os.environ,
        "FORGEMESH_HOST_LOAD": "noop_plugin:Noop",
        "FORGEMESH_HOST_PATH": str(PLUGINS),
        "FORGEMESH_HOST_TRACES": traces,
        "FORGEMESH_READY_FD": str(writing),
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "forgemesh.plugin_host.main"], env=environment, pass_fds=[writing]
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            facts = json.loads(ready.readline())
        print(f"the host was ready after {time.perf_counter() - began:.2f} s")
        yield facts["address"], process.pid
    finally:
        process.terminate()
        process.wait(10)


async def main(count: int, in_flight: int, sampled: bool) -> None:
    """A host of its own for one measurement."""
    async with collecting() as traces:
        with running_host(traces) as (address, pid):
            await measure(address, pid, count, in_flight, sampled)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--unsampled", action="store_true", help="leave the spans out")
    given = parser.parse_args()
    uvloop.run(main(given.calls, given.in_flight, not given.unsampled))
