"""A registry, a balancer and instances that say who they are, for clients that know nothing but xDS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from forgemesh.api.plugin.v1 import load_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as registry_pb
from forgemesh.balancer.application.requests import stock_clients
from forgemesh.balancer.domain.discovery import Kind
from forgemesh.chassis.health import Health
from forgemesh.cli.xds_bootstrap import bootstrap_of
from forgemesh.plugin_host.host.server.load_service import LoadService
from forgemesh.routing.policy import PluginPolicy
from tests.component.balancer.meshes import (
    DEADLINE,
    PLUGIN,
    SECRET,
    ServedBalancer,
    balancer_of,
    healthy_instance,
    registry_at,
    registry_stub,
)

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

PYTHON = (sys.executable, str(Path(__file__).with_name("stock_client.py")))
LEASE = 600.0
"""Seconds: nobody renews the instances."""
NO_TRIAL = 0.2
"""Seconds that the balancer of a test waits for somebody who makes a trial call."""


@dataclass
class Answering:
    """An instance whose answer to every call is its name."""

    name: str
    health: Health
    address: str = ""
    fails: grpc.StatusCode | None = None
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    load: load_pb2.LoadReport = field(default_factory=load_pb2.LoadReport)
    calls: int = 0
    arrived: int = 0
    server: Any = None
    registered: registry_pb.RegisterInstanceResponse | None = None

    async def who(self, request: bytes, context: Any) -> bytes:
        self.arrived += 1
        await self.waits.wait()
        self.calls += 1
        if self.fails is not None:
            await context.abort(self.fails, "as it was told to")
        return self.name.encode()

    def _load(self) -> bytes:
        return self.load.SerializeToString()

    async def serve(self, listen: str = "127.0.0.1:0") -> None:
        self.waits.set()
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        method: Any = grpc.unary_unary_rpc_method_handler(self.who)
        loads = LoadService(self._load)
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Who", {"Who": method}), loads.on_loop())
        )
        self.address = f"127.0.0.1:{self.server.add_insecure_port(listen)}"
        await self.server.start()


@dataclass
class StockClient:
    """A process with a stock gRPC library in it: a line in, a line out."""

    name: str
    process: asyncio.subprocess.Process

    async def ask(self, calls: int, **about: Any) -> dict[str, int]:
        """How often each answer came: the name of an instance, or a code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"calls": calls, "concurrent": 1, "seconds": DEADLINE, "wait": False, "headers": {}} | about
        self.process.stdin.write((json.dumps(request) + "\n").encode())
        async with asyncio.timeout(2 * DEADLINE):
            line = await self.process.stdout.readline()
        assert line, f"{self.name} has ended"
        answers: dict[str, int] = json.loads(line)
        return answers

    async def until(self, reached: Callable[[dict[str, int]], bool], calls: int = 10, **about: Any) -> dict[str, int]:
        """Ask until the answers are as they should be."""
        async with asyncio.timeout(DEADLINE):
            while True:
                answers = await self.ask(calls, **about)
                if reached(answers):
                    return answers
                await asyncio.sleep(0.05)


@dataclass
class StockMesh:
    """The parts, to be changed while clients call."""

    folder: Path
    registry: RegistryServiceAsyncStub
    registry_address: str
    balancer: ServedBalancer
    log: pytest.LogCaptureFixture
    stack: contextlib.AsyncExitStack
    instances: dict[str, Answering] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def start(self, name: str, plugin_id: str = PLUGIN, **facts: Any) -> Answering:
        """An instance that serves."""
        health, health_address = await self.stack.enter_async_context(healthy_instance())
        one = Answering(name, health)
        await one.serve()
        self.stack.push_async_callback(one.server.stop, 0)
        instance = instance_pb2.Instance(
            instance_id=name,
            plugin_id=plugin_id,
            plugin_version="1.0.0",
            address=one.address,
            health_address=health_address,
            **facts,
        )
        one.registered = await self.registry.RegisterInstance(
            registry_pb.RegisterInstanceRequest(instance=instance, owner_token=SECRET)
        )
        self.instances[name] = one
        return one

    async def end(self, name: str, *, drain: bool = False) -> None:
        """The instance says that it goes, and goes on serving."""
        registered = self.instances[name].registered
        assert registered is not None
        await self.registry.DeregisterInstance(
            registry_pb.DeregisterInstanceRequest(
                instance_id=name, incarnation=registered.instance.incarnation, owner_token=SECRET, drain=drain
            )
        )

    def bootstrap(self, name: str, server: str = "") -> Path:
        """A bootstrap file."""
        file = self.folder / f"{name}.json"
        content = bootstrap_of(server or self.balancer.server.address, name)
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    @contextlib.asynccontextmanager
    async def client(
        self,
        command: Sequence[str] = PYTHON,
        plugin_id: str = PLUGIN,
        server: str = "",
        target: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> AsyncIterator[StockClient]:
        """A client process; what it uses is logged under its name."""
        name = f"client-{next(self.numbers)}"
        process = await asyncio.create_subprocess_exec(
            *command,
            target or f"xds:///{plugin_id}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(self.bootstrap(name, server)), **(environment or {})},
        )
        try:
            yield StockClient(name, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def used(self, client: str, kind: Kind = Kind.ENDPOINTS) -> int:
        """How many responses of a kind the client has acknowledged."""
        messages = [record.getMessage() for record in self.log.records if record.name == stock_clients.__name__]
        return sum(one.startswith(f"{client} uses {kind.value} ") for one in messages)

    @contextlib.asynccontextmanager
    async def acknowledged(self, client: StockClient) -> AsyncIterator[None]:
        """The block changes something; afterwards the client has acknowledged that."""
        before = self.used(client.name)
        yield
        await eventually(lambda: self.used(client.name) > before)


async def eventually(reached: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(DEADLINE):
        while not reached():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def stock_mesh(
    tmp_path: Path, log: pytest.LogCaptureFixture, *names: str, policy: PluginPolicy | None = None, **settings: Any
) -> AsyncIterator[StockMesh]:
    """A mesh with these instances, all of them known to be healthy."""
    log.set_level("DEBUG", logger=stock_clients.__name__)
    async with (
        registry_at(tmp_path / "registry.db", lease=LEASE) as registry,
        registry_stub(registry.address) as stub,
        contextlib.AsyncExitStack() as stack,
        balancer_of(registry.address, **({"health_deadline": 10.0} | settings)) as balancer,
    ):
        mesh = StockMesh(tmp_path, stub, registry.address, balancer, log, stack)
        await balancer.warm()
        if policy is not None:
            balancer.balancer.ruled(PLUGIN, policy)
        for name in names:
            await mesh.start(name)
        await eventually(lambda: len(balancer.balancer.feed.snapshot(PLUGIN).open) == len(names))
        yield mesh
