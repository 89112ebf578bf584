"""
What a supervisor takes: to start plugins that need one another, and to see that a host was killed.

Twenty plugins stand on four levels, five on each, and each needs two of the level below; every one takes half a second
to start. Printed are the wall time from the start of the supervisor until all serve, beside the sum of the times from
each process's start to its plugin's, and the time until the supervisor tells that a host is gone after kill -9.

Usage: python -m bench.hosts [--start 0.5] [--kills 100] [--parallel 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import uvloop

from forgemesh.api.supervisor.v1 import host_pb2, supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub

if TYPE_CHECKING:
    from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceAsyncStub

LEVELS, WIDTH = 4, 5
DEADLINE = 120.0
PLUGIN = """
import asyncio
import json
from forgemesh.plugin import operation, plugin

@plugin("bench.p{number}", version="1.0.0", requires={needs})
class Plugin:
    async def start(self):
        await asyncio.sleep({seconds})

    @operation
    async def ping(self) -> int:
        return {number}
"""


def write_plugins(directory: Path, seconds: float) -> Path:
    """The plugins and their forgemesh.toml."""
    sections = []
    for number in range(LEVELS * WIDTH):
        level, place = divmod(number, WIDTH)
        below = [(level - 1) * WIDTH + (place + step) % WIDTH for step in (0, 1)] if level else []
        needs = [f"bench.p{other}@^1" for other in below]
        (directory / f"p{number}.py").write_text(PLUGIN.format(number=number, needs=needs, seconds=seconds))
        sections.append(
            f'[plugins.p{number}]\nload = "p{number}:Plugin"\ncrash_budget = {{ crashes = 1000, within = 1 }}'
        )
    file = directory / "forgemesh.toml"
    file.write_text("\n".join(reversed(sections)))  # the last ones first: the file's order must not matter
    return file


@asynccontextmanager
async def process(module: str, prefix: str, directory: Path, **settings: str) -> AsyncIterator[str]:
    """A service of the mesh; its address."""
    reading, writing = os.pipe()
    known = {"LISTEN": "127.0.0.1:0", "HEALTH_LISTEN": "127.0.0.1:0", **settings}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env={
            **os.environ,
            **{f"FORGEMESH_{prefix}_{key}": value for key, value in known.items()},
            "FORGEMESH_READY_FD": str(writing),
        },
        cwd=directory,
        pass_fds=[writing],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        line = await asyncio.to_thread(_first_line, reading)
        yield str(json.loads(line)["address"])
    finally:
        started.terminate()
        await started.wait()


def _first_line(pipe: int) -> str:
    with os.fdopen(pipe) as ready:
        return ready.readline()


async def hosts_of(stub: SupervisorServiceAsyncStub) -> dict[str, host_pb2.Host]:
    """By instance id."""
    return {host.instance_id: host for host in (await stub.ListHosts(pb.ListHostsRequest(), timeout=10)).hosts}


async def all_ready(stub: SupervisorServiceAsyncStub) -> dict[str, host_pb2.Host]:
    """The hosts, once all of them serve."""
    async with asyncio.timeout(DEADLINE):
        while True:
            hosts = await hosts_of(stub)
            if all(host.state == host_pb2.HOST_STATE_READY for host in hosts.values()):
                return hosts
            await asyncio.sleep(0.01)


def alone(host: host_pb2.Host) -> float:
    """Seconds that a host took by itself: without the time in which it waited for others."""
    at = {step.state: step.at.ToMicroseconds() / 1e6 for step in host.history}
    imported = at[host_pb2.HOST_STATE_HANDSHAKING] - at[host_pb2.HOST_STATE_STARTING]
    return imported + at[host_pb2.HOST_STATE_READY] - at[host_pb2.HOST_STATE_INITIALIZING]


async def seen_after(stub: SupervisorServiceAsyncStub, host: host_pb2.Host) -> float:
    """Kill a host; seconds until the supervisor says that it is gone."""
    os.kill(host.pid, signal.SIGKILL)
    killed_at = time.perf_counter()
    while True:
        if (await hosts_of(stub))[host.instance_id].pid != host.pid:
            return time.perf_counter() - killed_at
        await asyncio.sleep(0.001)


async def measure(directory: Path, given: argparse.Namespace) -> None:
    """Start, print, kill, print."""
    plugins = write_plugins(directory, given.start)
    registry = process("forgemesh.registry.main", "REGISTRY", directory, DATABASE=str(directory / "registry.db"))
    async with registry as address:
        began = time.perf_counter()
        supervisor = process(
            "forgemesh.plugin_host.supervisor.main",
            "SUPERVISOR",
            directory,
            REGISTRY=address,
            TRACES="",
            PLUGINS=str(plugins),
            PARALLEL_STARTS=str(given.parallel),
        )
        async with supervisor as listening, grpc.aio.insecure_channel(listening) as channel:
            stub: SupervisorServiceAsyncStub = SupervisorServiceStub(channel)
            hosts = await all_ready(stub)
            wall = time.perf_counter() - began
            times = [alone(host) for host in hosts.values()]
            print(
                f"{len(hosts)} plugins on {LEVELS} levels serve after {wall:.2f} s (with the supervisor's own start); "
                f"the sum of their starts is {sum(times):.2f} s, each {min(times):.2f} to {max(times):.2f} s"
            )
            taken = []
            for number in range(given.kills):
                ready = await all_ready(stub)
                taken.append(await seen_after(stub, ready[f"p{number % (LEVELS * WIDTH)}-1"]))
            taken.sort()
            print(
                f"{len(taken)} kills: seen after {taken[len(taken) // 2] * 1000:.1f} ms (median), "
                f"{taken[int(len(taken) * 0.99)] * 1000:.1f} ms (p99), {taken[-1] * 1000:.1f} ms (slowest)"
            )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=float, default=0.5, help="seconds that a plugin takes to start")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=3, help="how many import at a time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forgemesh-hosts-") as directory:
        uvloop.run(measure(Path(directory), given))


if __name__ == "__main__":
    main()
