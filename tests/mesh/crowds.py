"""Crowds that come to a mesh, and what others notice of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as registry_pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.descriptors import raise_descriptor_limit
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.tasks import beside
from forgemesh.client import Client
from forgemesh.faults import reason_of
from tests.component.chassis.crowd import idle_connections
from tests.mesh.up_process import Up

DEADLINE = 240.0
SECRET = "the crowd's secret"
NAME = Payload(data=b'{"name": "crowd"}', media_type="application/json")

STARTS = 20
Services = dict[str, dict[str, Any]]
"""Where the services of a mesh listen, by name."""
Crowd = Callable[[Services], Coroutine[Any, Any, Counter[str]]]
"""Comes, does what it came for, goes; how many of it met with what."""


@dataclass
class Noticed:
    """
    What others noticed: seconds of each of their starts, and of each Check by service and port.

    `late` are the seconds by which they themselves were behind: so much of what they noticed is their own.
    """

    starts: list[float] = field(default_factory=list)
    checks: dict[str, list[float]] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)

    def start(self, share: float) -> float:
        """A quantile of the starts."""
        return quantile(self.starts, share)

    def slowest_check(self) -> tuple[float, str]:
        """The slowest one and where it was."""
        return max((max(times), where) for where, times in self.checks.items())


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextlib.asynccontextmanager
async def others(mesh: Up) -> AsyncIterator[Noticed]:
    """Somebody starts an execution now and then, somebody else checks the health of every service."""
    noticed = Noticed()
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client.connect(mesh.address))
        for name, facts in mesh.facts()["services"].items():
            for port in ("address", "health_address"):
                times = noticed.checks[f"{name} {port}"] = []
                channel = await stack.enter_async_context(connect(facts[port], keepalive=False))
                await stack.enter_async_context(beside(_now_and_then(_checking(channel), times, 0.05)))
        await stack.enter_async_context(beside(_wake(noticed.late)))
        await stack.enter_async_context(timing(lambda: client.start("hello", {"name": "you"}), noticed.starts))
        yield noticed


def _checking(channel: grpc.aio.Channel) -> Callable[[], Awaitable[object]]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="liveness")
    return lambda: stub.Check(request, timeout=DEADLINE, wait_for_ready=True)


@contextlib.asynccontextmanager
async def timing(call: Callable[[], Awaitable[object]], times: list[float]) -> AsyncIterator[None]:
    """Call now and then while the block runs, and note the seconds that each call takes."""
    async with beside(_now_and_then(call, times, 0.005)):
        yield


async def _now_and_then(call: Callable[[], Awaitable[object]], times: list[float], pause: float) -> None:
    while True:
        began = time.monotonic()
        try:
            await call()
        finally:  # one that is still waiting when the crowd has gone counts as well
            times.append(time.monotonic() - began)
        await asyncio.sleep(pause)


async def _wake(late: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.01
        await asyncio.sleep(0.01)
        late.append(loop.time() - due)


async def quiet(mesh: Up, starts: int) -> Noticed:
    """What others notice when nobody else is there."""
    async with others(mesh) as noticed:
        while len(noticed.starts) < starts:
            await asyncio.sleep(0.02)
    return noticed


async def idle(services: Services, *, number: int, service: str) -> Counter[str]:
    """
    Connections without a call, to both ports of a service; it stays until others have started something.

    A newcomer may be refused for the moment in which more have come than there is room for, and waits as clients do.
    """
    facts = services[service]
    async with (
        idle_connections(facts["address"], number),
        idle_connections(facts["health_address"], number),
        Client.connect(services["orchestrator"]["address"], patience=DEADLINE) as client,
    ):
        for _ in range(STARTS):
            await client.start("hello", {"name": "you"})
    return Counter(came=2 * number)


async def register(services: Services, *, number: int) -> Counter[str]:
    """Instances of a plugin that is nowhere, each with another id; those that were taken say goodbye."""
    met: Counter[str] = Counter()
    taken: list[instance_pb2.Instance] = []
    async with connect(services["registry"]["address"]) as channel:
        stub = RegistryServiceStub(channel)

        async def one(name: str) -> None:
            instance = instance_pb2.Instance(
                instance_id=name, plugin_id="crowd.plugin", plugin_version="1.0.0", address="127.0.0.1:9"
            )
            request = registry_pb.RegisterInstanceRequest(instance=instance, owner_token=SECRET)
            with counted(met, "taken"):
                taken.append((await stub.RegisterInstance(request, timeout=DEADLINE)).instance)

        await asyncio.gather(*(one(f"crowd-{n}") for n in range(number)))
        for instance in taken:
            goodbye = registry_pb.DeregisterInstanceRequest(
                instance_id=instance.instance_id, incarnation=instance.incarnation, owner_token=SECRET
            )
            await stub.DeregisterInstance(goodbye, timeout=DEADLINE)
    return met


async def start(services: Services, *, number: int, channels: int) -> Counter[str]:
    """Starts, all at once, by a patient client without any library of ours: a busy machine may be slow to connect."""
    met: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        address = services["orchestrator"]["address"]
        opened = [await stack.enter_async_context(connect(address, keepalive=False)) for _ in range(channels)]
        stubs = [OrchestratorServiceStub(channel) for channel in opened]

        async def one(n: int) -> None:
            with counted(met, "started"):
                request = pb.StartExecutionRequest(workflow="hello", input=NAME)
                await stubs[n % channels].StartExecution(request, timeout=DEADLINE, wait_for_ready=True)

        await asyncio.gather(*(one(n) for n in range(number)))
    return met


async def watch(services: Services, *, number: int) -> Counter[str]:
    """Watches of one execution by the Python client, which stay open while it starts others."""
    met: Counter[str] = Counter()
    everybody = asyncio.Event()
    async with Client.connect(services["orchestrator"]["address"]) as client:
        waiting = await client.start("linger", {"seconds": 30})

        async def one() -> None:
            async with contextlib.aclosing(waiting.watch()) as events:
                await anext(events)
                met["seen"] += 1
                if met["seen"] == number:
                    everybody.set()
                await everybody.wait()
                async for _ in events:
                    pass

        watches = [asyncio.create_task(one()) for _ in range(number)]
        async with asyncio.timeout(DEADLINE):
            await everybody.wait()
            for _ in range(STARTS):
                await client.start("hello", {"name": "you"})
        await waiting.terminate()
        await asyncio.gather(*watches)
    return met


async def sent(crowd: Crowd, services: Services) -> Counter[str]:
    """The crowd as a process of its own: what it takes of this one's time is nobody's else, its begin and end too."""
    return await asyncio.to_thread(_sent, crowd, services)


def _sent(crowd: Crowd, services: Services) -> Counter[str]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_come, crowd, services).result()


def _come(crowd: Crowd, services: Services) -> Counter[str]:
    raise_descriptor_limit()
    return asyncio.run(crowd(services))


@contextlib.contextmanager
def counted(met: Counter[str], done: str) -> Iterator[None]:
    """Count the block as done, or as what it was refused with."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        met[reason_of(from_rpc_error(error))] += 1
    else:
        met[done] += 1


def resident(pids: dict[str, int]) -> dict[str, int]:
    """Bytes of memory that each process has."""
    return {
        name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        for name, pid in pids.items()
        if name not in ("up", "greeter-1")
    }


def log_bytes(mesh: Up) -> int:
    return sum(path.stat().st_size for path in (mesh.place.data / "logs").iterdir())


def exceptions(mesh: Up) -> list[str]:
    """The records with a traceback, and tracebacks that are no records."""
    lines = [line for path in (mesh.place.data / "logs").iterdir() for line in path.read_text().splitlines()]
    return [line for line in lines if "Traceback" in line]


async def settled(mesh: Up) -> None:
    """Every execution has ended, and nothing had to be saved by a sweep."""
    async with asyncio.timeout(DEADLINE), Client.connect(mesh.address) as client:
        while (state := await client.orchestrator()).running:
            await asyncio.sleep(0.05)
    assert (state.suspended, state.saved_by_sweep, state.leaked_slots) == (0, 0, 0)


def standing(mesh: Up) -> list[tuple[str, ...]]:
    """What `status` says of every service and instance, without numbers that change."""
    result = mesh.place.forgemesh("status", "-o", "json")
    assert result.returncode == 0, result.stdout + result.stderr
    said = json.loads(result.stdout)
    services = [(row["service"], str(row["pid"]), row["health"]) for row in said["services"]]
    return services + [(row["instance"], str(row["pid"])) for row in said["instances"]]
