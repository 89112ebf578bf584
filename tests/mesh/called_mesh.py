"""A mesh whose only plugin, `test.echo`, is called all the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as orchestrator_pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.chassis.channel import connect
from tests.mesh.processes import DEADLINE, start_service
from tests.mesh.supervised import ANYWHERE, Supervised, plugin_source, running_registry, section, supervised

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

WORKFLOW = """
name: one-call
version: 1.0.0
steps:
  - id: ping
    call: {plugin: test.echo, operation: ping}
    retry: {max_attempts: %d, initial: 1ms}
output: "${steps.ping.output}"
"""


def write_echo(directory: Path, *keys: str, version: str = "1.0.0", broken: bool = False) -> str:
    """The plugin as a file; its section."""
    body = "def start(self):\n    raise RuntimeError('no dictionary')" if broken else ""
    (directory / "echo.py").write_text(plugin_source("test.echo", version=version, body=body))
    return section("echo", directory, *keys)


class Callers:
    """Start so many executions of one call a second until stopped, and keep what became of each."""

    def __init__(self, stub: OrchestratorServiceAsyncStub, rate: float) -> None:
        self._stub = stub
        self._rate = rate
        self._stop = asyncio.Event()
        self.answers: list[execution_pb2.Execution] = []

    @property
    def failed(self) -> list[execution_pb2.Execution]:
        """Those that did not succeed."""
        return [one for one in self.answers if one.status != execution_pb2.EXECUTION_STATUS_SUCCEEDED]

    async def called(self, times: int) -> None:
        """Return after so many more calls."""
        until = len(self.answers) + times
        async with asyncio.timeout(DEADLINE):
            while True:
                if len(self.answers) >= until:
                    return
                await asyncio.sleep(0.01)

    async def run(self) -> None:
        """Until stopped and all are answered."""
        began, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as tasks:
            while not self._stop.is_set():
                tasks.create_task(self._one())
                number += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(0.0, began + number / self._rate - time.monotonic()))

    def stop(self) -> None:
        """Start no more."""
        self._stop.set()

    async def _one(self) -> None:
        request = orchestrator_pb.StartExecutionRequest(workflow="one-call", wait_millis=int(DEADLINE * 1000))
        answer = await self._stub.StartExecution(request, timeout=DEADLINE + 5)
        self.answers.append(answer.execution)


@contextlib.asynccontextmanager
async def orchestrated(
    directory: Path, configuration: str
) -> AsyncIterator[tuple[Supervised, OrchestratorServiceAsyncStub]]:
    """Everything but traces, with these plugins."""
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(running_registry(directory))

        async def service(name: str, **settings: str) -> str:
            known = {"LISTEN": ANYWHERE, "HEALTH_LISTEN": ANYWHERE, "REGISTRY": registry.address, **settings}
            environment = {f"FORGEMESH_{name.upper()}_{key}": value for key, value in known.items()}
            started = start_service(f"forgemesh.{name}.main", environment, directory)
            return (await stack.enter_async_context(started)).address

        balancer = await service("balancer")
        mesh = await stack.enter_async_context(supervised(directory, registry.address, configuration))
        database = str(directory / "orchestrator.db")
        orchestrator = await service("orchestrator", BALANCER=balancer, DATABASE=database, TRACES="")
        yield mesh, OrchestratorServiceStub(await stack.enter_async_context(connect(orchestrator)))


@contextlib.asynccontextmanager
async def called_mesh(
    directory: Path, *keys: str, rate: float, attempts: int
) -> AsyncIterator[tuple[Supervised, Callers]]:
    """
    Everything but traces; the callers have begun, and have all been answered when this ends.

    `keys` are those of the plugin's section.
    """
    async with orchestrated(directory, write_echo(directory, *keys)) as (mesh, stub):
        await mesh.in_state(echo_1="READY")
        source = WORKFLOW % attempts
        await stub.RegisterDefinition(orchestrator_pb.RegisterDefinitionRequest(source=source), timeout=DEADLINE)
        callers = Callers(stub, rate)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(callers.run())
            try:
                yield mesh, callers
            finally:
                callers.stop()
