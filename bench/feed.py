"""
How soon everybody hears of a change, and that nobody has to ask: what the feed of a balancer does for its subscribers.

Printed are the times from one change of a circuit until the first and the last of 200 subscribers, all in this
process, have the snapshot of 20 instances, over so many changes; and how often the balancer was asked for an instance
while so many executions of three steps ran.

Usage: python -m bench.feed [--subscribers 200] [--endpoints 20] [--changes 20] [--executions 500]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from bench.throughput import STEPS, Load, run_executions
from bench.watch import registry
from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, event_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as registry_pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub

PLUGIN_ID = "bench.feed"
SHAPE = "seq3"
NOOP = Path(__file__).parent / "noop"
DEADLINE = 60.0


@asynccontextmanager
async def process(module: str, directory: Path, **settings: str) -> AsyncIterator[str]:
    """A process of its own, with these variables; its address."""
    reading, writing = os.pipe()
    environment = {**os.environ, **settings, "FORGEMESH_READY_FD": str(writing)}
    with (directory / f"{module}.log").open("wb") as log:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module), env=environment, pass_fds=(writing,), stdout=log, stderr=log
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            yield json.loads(await asyncio.to_thread(ready.readline))["address"]
    finally:
        started.terminate()
        await started.wait()


def settings(section: str, directory: Path, **others: str) -> dict[str, str]:
    """Variables of a service that listens anywhere and keeps its data in the directory."""
    known = {"listen": "127.0.0.1:0", "health_listen": "127.0.0.1:0", "database": str(directory / f"{section}.db")}
    return {f"FORGEMESH_{section}_{name}".upper(): value for name, value in (known | others).items()}


@asynccontextmanager
async def balancer(directory: Path, of: str) -> AsyncIterator[str]:
    """One that counts its calls."""
    own = settings("balancer", directory, registry=of) | {"COUNTED_CALLS": str(directory / "calls")}
    async with process("bench.counting_balancer", directory, **own) as address:
        yield address


class Subscribers:
    """Everybody's newest snapshot: in which generation the circuit of the first instance is, and when it came."""

    def __init__(self, count: int) -> None:
        self.seen = [-1] * count
        self.at = [0.0] * count
        self._moved = asyncio.Event()

    async def subscribe(self, number: int, stub: BalancerServiceAsyncStub, endpoints: int) -> None:
        """Follow until cancelled."""
        hello = pb.SubscriberHello(subscriber_id=f"bench-{number}", boot_id="1")

        async def words() -> AsyncIterator[pb.SubscribeRequest]:
            yield pb.SubscribeRequest(hello=hello)
            await asyncio.Event().wait()

        async for message in stub.Subscribe(words()):
            if message.HasField("snapshot") and len(message.snapshot.endpoints) == endpoints:
                self.seen[number] = message.snapshot.endpoints[0].circuit.generation
                self.at[number] = time.perf_counter()
                self._moved.set()

    async def all_at(self, generation: int) -> None:
        """Return once everybody has it."""
        async with asyncio.timeout(DEADLINE):
            while min(self.seen) < generation:
                self._moved.clear()
                await self._moved.wait()


async def register(address: str, endpoints: int) -> None:
    """Instances that nobody serves: the feed tells of them as of any other."""
    async with grpc.aio.insecure_channel(address) as channel:
        for number in range(endpoints):
            instance = instance_pb2.Instance(
                instance_id=f"i-{number:03}", plugin_id=PLUGIN_ID, plugin_version="1.0.0", address="127.0.0.1:1"
            )
            request = registry_pb.RegisterInstanceRequest(instance=instance, owner_token="bench")
            await RegistryServiceStub(channel).RegisterInstance(request, timeout=DEADLINE)


def orders() -> Iterator[pb.SetCircuitRequest]:
    """Each of them makes another snapshot."""
    while True:
        for order in (pb.CIRCUIT_ORDER_FORCE_OPEN, pb.CIRCUIT_ORDER_RESET):
            author = event_pb2.Author(actor="bench")
            yield pb.SetCircuitRequest(plugin_id=PLUGIN_ID, instance_id="i-000", order=order, author=author)


async def fan_out(address: str, count: int, endpoints: int, changes: int) -> None:
    """Subscribe, change, print."""
    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(1 + count // 25)
        ]
        stubs: list[Any] = [BalancerServiceStub(channel) for channel in channels]
        subscribers = Subscribers(count)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        following = [
            tasks.create_task(subscribers.subscribe(number, stubs[1 + number % (len(stubs) - 1)], endpoints))
            for number in range(count)
        ]
        await subscribers.all_at(0)
        first, last = [], []
        for _, order in zip(range(changes), orders(), strict=False):
            changed = time.perf_counter()
            answer = await stubs[0].SetCircuit(order, timeout=DEADLINE)
            await subscribers.all_at(answer.circuits[0].circuit.generation)
            first.append((min(subscribers.at) - changed) * 1000)
            last.append((max(subscribers.at) - changed) * 1000)
        for task in following:
            task.cancel()
    print(f"{count} subscribers of {endpoints} instances: a change reaches the first after", end=" ")
    print(f"{statistics.median(first):.0f} ms, the last after {statistics.median(last):.0f} ms (median),", end=" ")
    print(f"{max(last):.0f} ms at most of {changes}")


async def asked(directory: Path, of: str, at: str, executions: int) -> None:
    """Run a workflow and print how often the balancer was asked for an instance."""
    host = {"FORGEMESH_HOST_LOAD": "noop_plugin:Noop", "FORGEMESH_HOST_PATH": str(NOOP), "FORGEMESH_HOST_REGISTRY": of}
    own = settings("orchestrator", directory, registry=of, balancer=at)
    async with (
        process("forgemesh.plugin_host.main", directory, **host),
        process("forgemesh.orchestrator.main", directory, **own) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = OrchestratorServiceStub(channel)
        source = (NOOP / f"{SHAPE}.yaml").read_text()
        await stub.RegisterDefinition(orchestrator_pb.RegisterDefinitionRequest(source=source))
        await run_executions(stub, Load(SHAPE, executions, 64, 1))
    counts = Counter((directory / "calls").read_text().split())
    steps = executions * STEPS[SHAPE]
    print(f"Pick RPCs per step: {counts['Pick'] / steps:g} ({counts['Pick']} for {steps} steps;", end=" ")
    print(f"{counts['Subscribe']} subscriptions)")


async def measure(subscribers: int, endpoints: int, changes: int, executions: int) -> None:
    """With a registry and a balancer of its own."""
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as name:
        directory = Path(name)
        async with registry(directory) as of, balancer(directory, of) as at:
            await register(of, endpoints)
            await fan_out(at, subscribers, endpoints, changes)
            await asked(directory, of, at, executions)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=200)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--executions", type=int, default=500)
    given = parser.parse_args()
    uvloop.run(measure(given.subscribers, given.endpoints, given.changes, given.executions))


if __name__ == "__main__":
    main()
