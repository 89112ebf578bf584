"""A mesh of real processes around moody instances: several orchestrators, one balancer that may be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, event_pb2, policy_pb2, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.orchestrator.v1.execution_pb2 import EXECUTION_STATUS_RUNNING, Execution
from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.api.traces.v1.trace_service_pb2 import GetTraceRequest
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.client import Client
from forgemesh.client.start import Start
from tests.free_ports import free_port
from tests.mesh.moody import CONCURRENCY, PLUGIN_ID, Moods
from tests.mesh.processes import DEADLINE, SHORTEST_PAUSE, Service, eventually, start_service

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub

ANYWHERE = "127.0.0.1:0"
ONE_CALL, UNSAID = "one-call", "unsaid"
"""Workflows of one step each; nothing is said about whether that of the second may be repeated."""

PATIENT_ADOPTION = 12
"""Seconds that a balancer without a database waits for what its subscribers know, so that slow ones are heard."""

WORKFLOW = """
name: {name}
version: 1.0.0
steps:
  - id: ping
    call: {{plugin: {plugin}, operation: ping}}
    {idempotent}
    retry: {{max_attempts: {attempts}, initial: 1ms}}
output: "${{steps.ping.output}}"
"""

CLOSED, OPEN, HALF_OPEN = (
    snapshot_pb2.CIRCUIT_STATE_CLOSED,
    snapshot_pb2.CIRCUIT_STATE_OPEN,
    snapshot_pb2.CIRCUIT_STATE_HALF_OPEN,
)


def seeded() -> random.Random:
    """Random numbers whose seed is printed, and taken from FORGEMESH_SEED if that is set."""
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    return random.Random(seed)


@dataclass
class CircuitMesh:
    """Running processes; `stack` ends them."""

    directory: Path
    stack: contextlib.AsyncExitStack
    concurrency: int
    kept: bool
    moods: Moods
    registry: Service = field(init=False)
    traces: Service | None = None
    balancer: Service = field(init=False)
    orchestrators: dict[str, Service] = field(default_factory=dict)
    hosts: dict[str, Service] = field(default_factory=dict)
    _port: int = field(default_factory=free_port)

    async def start(self, module: str, environment: dict[str, str]) -> Service:
        """A process that ends with the mesh."""
        return await self.stack.enter_async_context(start_service(module, environment, self.directory))

    async def start_service(
        self, name: str, module: str = "", others: Mapping[str, str] | None = None, **settings: str
    ) -> Service:
        """One of the services, with `settings` and variables of other names; its database is `<name>.db`."""
        known = {"LISTEN": ANYWHERE, "HEALTH_LISTEN": ANYWHERE, "DATABASE": str(self.directory / f"{name}.db")}
        environment = {f"FORGEMESH_{name.upper()}_{key}": value for key, value in (known | settings).items()}
        return await self.start(module or f"forgemesh.{name}.main", environment | dict(others or {}))

    async def start_balancer(self) -> None:
        """Each time at the same address, with the same database if it has one."""
        settings = {"LISTEN": f"127.0.0.1:{self._port}", "REGISTRY": self.registry.address, "HEARTBEAT": "0.25"}
        if not self.kept:
            settings |= {"DATABASE": "", "ADOPTION": str(PATIENT_ADOPTION)}
        counted = {"COUNTED_CALLS": str(self.directory / "balancer-calls")}
        self.balancer = await self.start_service("balancer", "bench.counting_balancer", counted, **settings)

    async def start_orchestrator(self, name: str) -> None:
        """Each time with the same database."""
        self.orchestrators[name] = await self.start_service(
            "orchestrator",
            REGISTRY=self.registry.address,
            BALANCER=f"127.0.0.1:{self._port}",
            DATABASE=str(self.directory / f"{name}.db"),
            TRACES=self.traces.address if self.traces is not None else "",
        )

    async def start_host(self, instance: str, mood: str = "ok") -> None:
        """A new incarnation if it ran before."""
        self.moods.set(instance, mood)
        traces = self.traces.address if self.traces is not None else ""
        environment = self.moods.environment(instance, self.registry.address, traces, self.concurrency)
        self.hosts[instance] = await self.start("forgemesh.plugin_host.main", environment)

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[BalancerServiceAsyncStub]:
        """The balancer."""
        async with connect(f"127.0.0.1:{self._port}") as channel:
            stub: BalancerServiceAsyncStub = BalancerServiceStub(channel)
            yield stub

    @contextlib.asynccontextmanager
    async def client(self, orchestrator: str) -> AsyncIterator[Client]:
        """A caller of one orchestrator."""
        async with Client.connect(self.orchestrators[orchestrator].address) as client:
            yield client

    def balancer_calls(self) -> Counter[str]:
        """How often each method of the balancer has been called."""
        return Counter((self.directory / "balancer-calls").read_text().split())

    async def set_policy(self, **fields: Any) -> None:
        """Fields of a PluginPolicy count from now on; `circuit` is a dict."""
        policy = policy_pb2.PluginPolicy(plugin_id=PLUGIN_ID, **fields)
        async with self.stub() as stub:
            author = event_pb2.Author(actor="test")
            await stub.SetPolicy(pb.SetPolicyRequest(policy=policy, author=author), timeout=DEADLINE)

    async def register(self, attempts: int = 1) -> None:
        """Both workflows at all orchestrators."""
        for name in self.orchestrators:
            async with self.client(name) as client:
                for workflow, idempotent in ((ONE_CALL, "idempotent: true"), (UNSAID, "")):
                    await client.register(
                        WORKFLOW.format(name=workflow, plugin=PLUGIN_ID, idempotent=idempotent, attempts=attempts)
                    )

    async def circuit(self, instance: str) -> pb.InstanceCircuit:
        """Where it stands now."""
        async with self.stub() as stub:
            request = pb.ListCircuitsRequest(plugin_id=PLUGIN_ID, instance_id=instance)
            (found,) = (await stub.ListCircuits(request, timeout=DEADLINE)).circuits
        return found

    async def until_circuit(self, instance: str, *states: snapshot_pb2.CircuitState.ValueType) -> pb.InstanceCircuit:
        """Its circuit, as soon as it is in one of these states."""

        async def look() -> pb.InstanceCircuit | None:
            found = await self.circuit(instance)
            return found if found.circuit.state in states else None

        found = await eventually(look, longest_pause=SHORTEST_PAUSE)  # some states do not last
        assert isinstance(found, pb.InstanceCircuit)
        return found

    async def until_serving(self, *instances: str) -> None:
        """Return once health checks say so of all of these."""

        async def look() -> bool:
            async with self.stub() as stub:
                answer = await stub.ListSnapshots(pb.ListSnapshotsRequest(plugin_id=PLUGIN_ID), timeout=DEADLINE)
            endpoints = [endpoint for snapshot in answer.snapshots for endpoint in snapshot.endpoints]
            serving = {one.instance_id for one in endpoints if one.health == snapshot_pb2.HEALTH_SERVING}
            return serving >= set(instances)

        await eventually(look)

    async def events(self, instance: str = "") -> list[event_pb2.BalancerEvent]:
        """Everything that this balancer remembers."""
        async with self.stub() as stub:
            request = pb.WatchEventsRequest(plugin_id=PLUGIN_ID, instance_id=instance, history_only=True)
            return [told.event async for told in stub.WatchEvents(request) if told.HasField("event")]

    async def transitions(self, instance: str) -> list[tuple[float, snapshot_pb2.CircuitState.ValueType]]:
        """Every change of its circuit: when (Unix seconds), and to which state."""
        return [
            (event.at.ToNanoseconds() / 1e9, event.circuit.after.state)
            for event in await self.events(instance)
            if event.HasField("circuit")
        ]

    async def spans(self, execution_id: str) -> list[Span]:
        """What is stored of its trace by now, in the end everything."""
        assert self.traces is not None
        async with connect(self.traces.address) as channel:
            request = GetTraceRequest(execution_id=execution_id)
            try:
                return list((await TraceServiceStub(channel).GetTrace(request, timeout=DEADLINE)).spans)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return []

    async def start_many(self, orchestrator: str, ids: Sequence[str], workflow: str = ONE_CALL) -> None:
        """So many executions, which need not end."""
        async with self.client(orchestrator) as client:
            answers = await client.start_many(
                [Start(workflow=workflow, execution_id=one, request_id=one) for one in ids]
            )
        assert [answer for answer in answers if isinstance(answer, Exception)] == []

    async def blocked(self, orchestrator: str, *reasons: str) -> str:
        """A new execution that waits for a circuit, or for one of these reasons, once the orchestrator knows of it."""

        async def look() -> str:
            name = f"{orchestrator}-{time.time_ns()}"
            await self.start_many(orchestrator, [name])
            (found,) = await self.described(orchestrator, [name])
            return name if found.steps and found.steps[0].blocked_reason in (reasons or ("CIRCUIT_OPEN",)) else ""

        return str(await eventually(look))

    async def described(self, orchestrator: str, ids: Sequence[str]) -> list[Execution]:
        """Where each of them stands now."""
        async with self.client(orchestrator) as client:
            handles = await some_at_once([client.execution(one) for one in ids])
        return [handle.last_seen for handle in handles]

    async def ended(self, orchestrator: str, ids: Sequence[str], *, deadline: float = 180.0) -> list[Execution]:
        """The executions, once all have ended."""
        found: dict[str, Execution] = {}

        async def look() -> bool:
            open_ones = [one for one in ids if one not in found]
            first = await self.described(orchestrator, open_ones[:1])
            if first and first[0].status != EXECUTION_STATUS_RUNNING:
                looked = await self.described(orchestrator, open_ones)
                found.update((one.execution_id, one) for one in looked if one.status != EXECUTION_STATUS_RUNNING)
            return len(found) == len(ids)

        await eventually(look, deadline=deadline)
        return [found[one] for one in ids]


async def some_at_once(requests: Sequence[Awaitable[Any]]) -> list[Any]:
    """What each of them gives, a few at a time."""
    places = asyncio.Semaphore(32)

    async def one(request: Awaitable[Any]) -> Any:
        async with places:
            return await request

    return await asyncio.gather(*(one(request) for request in requests))


@contextlib.asynccontextmanager
async def running_circuit_mesh(
    directory: Path,
    *,
    orchestrators: int = 1,
    instances: int = 1,
    traced: bool = False,
    concurrency: int = CONCURRENCY,
    attempts: int = 1,
    kept: bool = True,
) -> AsyncIterator[CircuitMesh]:
    """
    Orchestrators `o-1` ... and instances `moody-1` ..., which are `ok`; both workflows are registered.

    `kept`: the balancer has a database.
    """
    async with contextlib.AsyncExitStack() as stack:
        mesh = CircuitMesh(directory, stack, concurrency, kept, Moods(directory))
        mesh.moods.write_plugin()
        mesh.registry = await mesh.start_service("registry")
        if traced:
            mesh.traces = await mesh.start_service("traces")
        names = [f"moody-{number + 1}" for number in range(instances)]
        async with asyncio.TaskGroup() as group:
            group.create_task(mesh.start_balancer())
            for name in names:
                group.create_task(mesh.start_host(name))
            for number in range(orchestrators):
                group.create_task(mesh.start_orchestrator(f"o-{number + 1}"))
        await mesh.register(attempts)
        await mesh.until_serving(*names)
        yield mesh
