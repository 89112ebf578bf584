"""Executions of one call each, started at a steady rate at all orchestrators of a mesh."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forgemesh.api.orchestrator.v1 import event_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import EXECUTION_STATUS_SUCCEEDED, Execution
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.chassis.channel import connect
from tests.mesh.circuit_mesh import ONE_CALL, CircuitMesh, some_at_once
from tests.mesh.processes import DEADLINE

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

PATIENCE = 180.0
"""Seconds until an execution that has not ended counts as lost."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Where an attempt went, and when (Unix seconds)."""

    instance: str
    at: float
    trial: bool


@dataclass
class Load:
    """`rate` executions a second, in turn at each of the orchestrators; keeps what became of each."""

    stubs: list[OrchestratorServiceAsyncStub]
    rate: float
    answers: list[Execution] = field(default_factory=list)
    started: int = 0
    _where: dict[str, OrchestratorServiceAsyncStub] = field(default_factory=dict)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def not_succeeded(self) -> list[Execution]:
        """Of those that are answered."""
        return [one for one in self.answers if one.status != EXECUTION_STATUS_SUCCEEDED]

    async def until_answered(self, more: int) -> None:
        """Return after so many more have ended."""
        until = len(self.answers) + more
        async with asyncio.timeout(DEADLINE):
            while len(self.answers) < until:
                await asyncio.sleep(0.01)

    async def until_started(self, more: int) -> None:
        """Return after so many more have been started."""
        until = self.started + more
        async with asyncio.timeout(DEADLINE):
            while self.started < until:
                await asyncio.sleep(0.01)

    async def run(self) -> None:
        """Until stopped and all are answered."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for stub in itertools.cycle(self.stubs):
                tasks.create_task(self._one(stub))
                self.started += 1
                pause = began + self.started / self.rate - time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(0.0, pause))
                if self._stop.is_set():
                    break
        self._over.set()

    async def finish(self) -> None:
        """Start no more, and return once all have been answered."""
        self._stop.set()
        await self._over.wait()

    async def picks(self) -> list[Pick]:
        """Every attempt of all that are answered, in order of time."""
        found = await some_at_once([self._picks_of(one) for one in self.answers])
        return sorted(itertools.chain.from_iterable(found), key=lambda pick: pick.at)

    async def _one(self, stub: OrchestratorServiceAsyncStub) -> None:
        request = pb.StartExecutionRequest(workflow=ONE_CALL, wait_millis=int(PATIENCE * 1000))
        answer = await stub.StartExecution(request, timeout=PATIENCE + 5)
        self.answers.append(answer.execution)
        self._where[answer.execution.execution_id] = stub

    async def _picks_of(self, execution: Execution) -> list[Pick]:
        request = pb.WatchExecutionRequest(execution_id=execution.execution_id, from_sequence=1)
        watch = self._where[execution.execution_id].WatchExecution(request, timeout=DEADLINE)
        return [pick async for told in watch for event in told.events for pick in _picked(event)]


def _picked(event: event_pb2.ExecutionEvent) -> list[Pick]:
    ended = event.attempt_succeeded if event.HasField("attempt_succeeded") else event.attempt_failed
    dispatch = ended.dispatch
    return [Pick(dispatch.instance_id, dispatch.unix_nano / 1e9, dispatch.trial)] if dispatch.instance_id else []


@contextlib.asynccontextmanager
async def loaded(mesh: CircuitMesh, rate: float) -> AsyncIterator[Load]:
    """The load from the beginning of the block; all have been answered when it ends."""
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(connect(one.address)) for one in mesh.orchestrators.values()]
        load = Load([OrchestratorServiceStub(channel) for channel in channels], rate)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            yield load
            await load.finish()
