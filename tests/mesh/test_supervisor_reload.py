"""A reload under load: nobody who calls the plugin notices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as orchestrator_pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.channel import connect
from forgemesh.faults.supervisor import ReloadFailed
from tests.mesh.processes import DEADLINE, start_service
from tests.mesh.supervised import ANYWHERE, Supervised, plugin_source, running_registry, section, supervised

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

pytestmark = pytest.mark.mesh

RATE = 200
WORKFLOW = """
name: one-call
version: 1.0.0
steps:
  - id: ping
    call: {plugin: test.echo, operation: ping}
    retry: {max_attempts: 1}
output: "${steps.ping.output}"
"""


def write(directory: Path, version: str, *, broken: bool = False) -> str:
    body = "def start(self):\n    raise RuntimeError('no dictionary')" if broken else ""
    (directory / "echo.py").write_text(plugin_source("test.echo", version=version, body=body))
    return section("echo", directory, "instances = 2")


@contextlib.asynccontextmanager
async def mesh_with_orchestrator(directory: Path) -> AsyncIterator[tuple[Supervised, str]]:
    """Everything but traces; the address is the orchestrator's."""
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(running_registry(directory))

        async def service(name: str, **settings: str) -> str:
            known = {"LISTEN": ANYWHERE, "HEALTH_LISTEN": ANYWHERE, "REGISTRY": registry.address, **settings}
            environment = {f"FORGEMESH_{name.upper()}_{key}": value for key, value in known.items()}
            started = start_service(f"forgemesh.{name}.main", environment, directory)
            return (await stack.enter_async_context(started)).address

        balancer = await service("balancer")
        database = str(directory / "orchestrator.db")
        mesh = await stack.enter_async_context(supervised(directory, registry.address, write(directory, "1.0.0")))
        await mesh.in_state(echo_1="READY", echo_2="READY")
        yield mesh, await service("orchestrator", BALANCER=balancer, DATABASE=database, TRACES="")


class Callers:
    """Start RATE executions a second until stopped, and keep what became of each."""

    def __init__(self, stub: OrchestratorServiceAsyncStub) -> None:
        self._stub = stub
        self._stop = asyncio.Event()
        self.answers: list[execution_pb2.Execution] = []

    async def run(self) -> None:
        began, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as tasks:
            while not self._stop.is_set():
                tasks.create_task(self._one())
                number += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(0.0, began + number / RATE - time.monotonic()))

    async def _one(self) -> None:
        request = orchestrator_pb.StartExecutionRequest(workflow="one-call", wait_millis=int(DEADLINE * 1000))
        answer = await self._stub.StartExecution(request, timeout=DEADLINE + 5)
        self.answers.append(answer.execution)

    async def called(self, times: int) -> None:
        """Return after so many more calls."""
        until = len(self.answers) + times
        async with asyncio.timeout(DEADLINE):
            while len(self.answers) < until:
                await asyncio.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()


async def test_no_call_fails_while_a_plugin_is_reloaded_and_while_a_reload_fails(tmp_path: Path) -> None:
    async with mesh_with_orchestrator(tmp_path) as (mesh, orchestrator), connect(orchestrator) as channel:
        stub: OrchestratorServiceAsyncStub = OrchestratorServiceStub(channel)
        await stub.RegisterDefinition(orchestrator_pb.RegisterDefinitionRequest(source=WORKFLOW), timeout=DEADLINE)
        callers = Callers(stub)
        calling = asyncio.create_task(callers.run())
        await callers.called(RATE)
        write(tmp_path, "1.10.0")
        reloaded = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="echo"))
        await callers.called(RATE)
        after_reload = len(callers.answers)
        write(tmp_path, "1.100.0", broken=True)
        fault = await mesh.fails("ReloadPlugin", pb.ReloadPluginRequest(name="echo"))
        await callers.called(RATE)
        callers.stop()
        await calling

    failed = [one for one in callers.answers if one.status != execution_pb2.EXECUTION_STATUS_SUCCEEDED]
    outputs = [one.output.data for one in callers.answers]
    print(f"{len(callers.answers)} calls, {len(failed)} failed")
    assert failed == []
    assert reloaded.to_version == "1.10.0"
    assert set(outputs) == {b'"1.0.0"', b'"1.10.0"'}
    assert set(outputs[after_reload:]) == {b'"1.10.0"'}
    assert isinstance(fault, ReloadFailed)
    assert fault.metadata["phase"] == "INIT"
