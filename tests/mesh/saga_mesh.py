"""A small mesh of real processes around an orchestrator that can be killed and started again at will."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.free_ports import free_port
from tests.mesh.processes import Service, start_service

ANYWHERE = "127.0.0.1:0"
PLUGIN = """
import json, os, random
from forgemesh.plugin import Context, OperationError, operation, plugin


@plugin("test.saga", version="1.0.0", max_concurrency=64)
class Saga:
    @operation
    async def do(self, ctx: Context, value: int = 0) -> dict[str, int]:
        note(ctx)
        return {"value": value}

    @operation
    async def fail(self, ctx: Context) -> None:
        note(ctx)
        raise OperationError("BROKEN", "does not work")

    @operation(idempotent=False)
    async def pay(self, ctx: Context, value: int = 0) -> dict[str, int]:
        die()
        note(ctx)
        die()
        return {"value": value}


def die():
    if random.random() < float(os.environ["SAGA_DEATHS"]):  # before the effect, or after it
        os._exit(1)


def note(ctx: Context) -> None:
    line = json.dumps([ctx.execution_id, ctx.step_path, ctx.attempt]) + "\\n"
    with open(os.environ["SAGA_LEDGER"], "a") as ledger:
        ledger.write(line)
        ledger.flush()
        os.fsync(ledger.fileno())
"""


@dataclass
class SagaMesh:
    """Everything but the orchestrator runs all the time."""

    directory: Path
    address: str
    environment: dict[str, str]
    traces: str
    host: dict[str, str] = field(default_factory=dict)
    orchestrators: list[Service] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def orchestrator(self, commits: int = 0) -> AsyncIterator[Service]:
        """One life of the orchestrator; it ends after so many commits, if that is not 0."""
        environment = {**self.environment, "MORTAL_COMMITS": str(commits)}
        async with start_service("tests.mesh.mortal_orchestrator", environment, self.directory) as service:
            yield service

    @contextlib.asynccontextmanager
    async def plugin_host(self, instance_id: str, *, deaths: float = 0.0) -> AsyncIterator[Service]:
        """One life of an instance; `deaths` is how often `pay` ends it, before its effect and again after it."""
        environment = {**self.host, "FORGEMESH_HOST_INSTANCE_ID": instance_id, "SAGA_DEATHS": str(deaths)}
        async with start_service("forgemesh.plugin_host.main", environment, self.directory) as service:
            yield service

    def calls(self, execution_id: str) -> Counter[str]:
        """How often the plugin was called for each step."""
        return self.all_calls()[execution_id]

    def all_calls(self) -> dict[str, Counter[str]]:
        """The same for every execution."""
        ledger = self.directory / "ledger"
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for line in ledger.read_text().splitlines() if ledger.exists() else ():
            execution, path, _ = json.loads(line)
            found[execution][path] += 1
        return found


@contextlib.asynccontextmanager
async def running_saga_mesh(directory: Path, *, hosts: int = 1) -> AsyncIterator[SagaMesh]:
    """Registry, balancer, traces and hosts of the plugin `test.saga`; the orchestrator's address is fixed."""
    (directory / "saga_plugin.py").write_text(PLUGIN)
    async with contextlib.AsyncExitStack() as stack:

        async def service(name: str, **settings: str) -> Service:
            prefix = f"FORGEMESH_{name.rpartition('.')[2].upper()}"
            known = {"LISTEN": ANYWHERE, "HEALTH_LISTEN": ANYWHERE, "DATABASE": str(directory / f"{name}.db")}
            if name == "balancer":
                del known["DATABASE"]
            environment = {f"{prefix}_{key}": value for key, value in (known | settings).items()}
            return await stack.enter_async_context(start_service(f"forgemesh.{name}.main", environment, directory))

        registry = await service("registry")
        traces = await service("traces")
        balancer = await service("balancer", REGISTRY=registry.address)
        host = {
            "FORGEMESH_HOST_LOAD": "saga_plugin:Saga",
            "FORGEMESH_HOST_PATH": str(directory),
            "FORGEMESH_HOST_REGISTRY": registry.address,
            "FORGEMESH_HOST_TRACES": traces.address,
            "SAGA_LEDGER": str(directory / "ledger"),
        }
        port = free_port()
        environment = {
            "FORGEMESH_ORCHESTRATOR_LISTEN": f"127.0.0.1:{port}",
            "FORGEMESH_ORCHESTRATOR_HEALTH_LISTEN": ANYWHERE,
            "FORGEMESH_ORCHESTRATOR_REGISTRY": registry.address,
            "FORGEMESH_ORCHESTRATOR_BALANCER": balancer.address,
            "FORGEMESH_ORCHESTRATOR_TRACES": traces.address,
            "FORGEMESH_ORCHESTRATOR_DATABASE": str(directory / "orchestrator.db"),
        }
        mesh = SagaMesh(directory, f"127.0.0.1:{port}", environment, traces.address, host)
        for number in range(1, hosts + 1):
            await stack.enter_async_context(mesh.plugin_host(f"saga-{number}"))
        yield mesh
