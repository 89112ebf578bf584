"""
How soon everybody who watches a registry hears of a change: 200 watchers of 2,000 instances, in a process of their own.

Printed are the times from one registration until the first and the last watcher have it, over so many changes.

Usage: python -m bench.watch [--instances 2000] [--watchers 200] [--changes 20]
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
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import uvloop

from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

AT_ONCE = 50
DEADLINE = 60.0


@asynccontextmanager
async def registry(directory: Path) -> AsyncIterator[str]:
    """A registry in a process of its own; its address."""
    reading, writing = os.pipe()
    settings = {
        "FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(directory / "registry.db"),
        "FORGEMESH_REGISTRY_LEASE": "600",
        "FORGEMESH_REGISTRY_MAX_INSTANCES_PER_PEER": "2000",
        "FORGEMESH_REGISTRY_MAX_INSTANCES_PER_PLUGIN": "2000",
        "FORGEMESH_READY_FD": str(writing),
    }
    with (directory / "registry.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "forgemesh.registry.main",
            env={**os.environ, **settings},
            pass_fds=(writing,),
            stdout=log,
            stderr=log,
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            yield json.loads(await asyncio.to_thread(ready.readline))["address"]
    finally:
        process.terminate()
        await process.wait()


async def register(stub: RegistryServiceAsyncStub, number: int) -> instance_pb2.Revision:
    """One instance; the revision at which it appears."""
    instance = instance_pb2.Instance(
        instance_id=f"i-{number}", plugin_id=f"bench.p{number % 100}", plugin_version="1.0.0", address="127.0.0.1:7001"
    )
    request = pb.RegisterInstanceRequest(instance=instance, owner_token="bench")
    return (await stub.RegisterInstance(request, timeout=DEADLINE)).revision


class Watchers:
    """Everybody's newest revision, and when it came."""

    def __init__(self, count: int) -> None:
        self.seen = [0] * count
        self.at = [0.0] * count
        self._moved = asyncio.Event()

    async def watch(self, number: int, stub: RegistryServiceAsyncStub) -> None:
        """Follow until cancelled."""
        async for message in stub.WatchInstances(pb.WatchInstancesRequest()):
            if message.HasField("all") or message.HasField("changed"):
                self.seen[number], self.at[number] = message.revision.revision, time.perf_counter()
                self._moved.set()

    async def all_at(self, revision: int) -> None:
        """Return once everybody has it."""
        async with asyncio.timeout(DEADLINE):
            while min(self.seen) < revision:
                self._moved.clear()
                await self._moved.wait()


async def measure(address: str, instances: int, count: int, changes: int) -> None:
    """Fill the registry, watch it, change it."""
    async with AsyncExitStack() as stack:
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(1 + count // 25)
        ]
        stub = RegistryServiceStub(channels[0])
        for first in range(0, instances, AT_ONCE):
            some = range(first, min(first + AT_ONCE, instances))
            revisions = await asyncio.gather(*(register(stub, number) for number in some))
        watchers = Watchers(count)
        began = time.perf_counter()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        watching = [
            tasks.create_task(watchers.watch(number, RegistryServiceStub(channels[1 + number % (len(channels) - 1)])))
            for number in range(count)
        ]
        await watchers.all_at(max(revision.revision for revision in revisions))
        print(f"{count} watchers have {instances} instances after {time.perf_counter() - began:.2f} s")
        first_seen, last_seen = [], []
        for number in range(changes):
            changed = time.perf_counter()
            revision = await register(stub, number)
            await watchers.all_at(revision.revision)
            first_seen.append(min(watchers.at) - changed)
            last_seen.append(max(watchers.at) - changed)
        for task in watching:
            task.cancel()
    print(f"one change reaches the first after {statistics.median(first_seen) * 1000:.0f} ms,")
    print(
        f"the last after {statistics.median(last_seen) * 1000:.0f} ms (median), {max(last_seen) * 1000:.0f} ms at most"
    )


async def run(instances: int, watchers: int, changes: int) -> None:
    """With a registry of its own."""
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as directory:
        async with registry(Path(directory)) as address:
            await measure(address, instances, watchers, changes)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--changes", type=int, default=20)
    given = parser.parse_args()
    uvloop.run(run(given.instances, given.watchers, given.changes))


if __name__ == "__main__":
    main()
