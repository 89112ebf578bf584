"""One execution as its caller holds it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import msgspec

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client.peer import DEADLINE, Peer
from forgemesh.faults import Code, Fault, code_of

if TYPE_CHECKING:
    from forgemesh.api.errors.v1.failure_pb2 import Failure
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

JSON = "application/json"
PATIENCE = 30.0
_INITIAL_BACKOFF = 0.05
_MAX_BACKOFF = 1.0


class ExecutionFailed(Exception):
    """The execution ended badly; `failure` says why, as programs and people read it."""

    def __init__(self, execution_id: str, failure: Failure) -> None:
        place = f" at {failure.step_path!r}" if failure.step_path else ""
        super().__init__(f"execution {execution_id!r} failed{place}: {failure.message}")
        self.execution_id = execution_id
        self.failure = failure

    @property
    def code(self) -> Code:
        """The canonical code of what went wrong."""
        return Code(self.failure.code)

    @property
    def reason(self) -> str:
        """A name that programs may match."""
        return self.failure.reason

    @property
    def message(self) -> str:
        """What happened, for people."""
        return self.failure.message

    @property
    def step_path(self) -> str:
        """The step where it arose; empty if the execution as a whole failed."""
        return self.failure.step_path


class ExecutionHandle:
    """A started execution. It runs on whether or not anybody holds a handle of it."""

    def __init__(
        self,
        stub: OrchestratorServiceAsyncStub,
        peer: Peer,
        execution: Execution,
    ) -> None:
        self._stub = stub
        self._peer = peer
        self._last_seen = execution

    @property
    def id(self) -> str:
        """Unique in its namespace."""
        return self._last_seen.execution_id

    @property
    def trace_id(self) -> str:
        """The trace that all its spans belong to, 32 hex digits."""
        return self._last_seen.trace_id

    async def describe(self, *, deadline: float = DEADLINE) -> Execution:
        """Where it stands now, with its steps."""
        request = pb.GetExecutionRequest(namespace=self._last_seen.namespace, execution_id=self.id)
        self._last_seen = (await self._peer.call(self._stub.GetExecution, request, deadline=deadline)).execution
        return self._last_seen

    async def watch(self, from_sequence: int = 1, *, patience: float = PATIENCE) -> AsyncIterator[ExecutionEvent]:
        """
        Its events from a sequence number on, up to its last one, each exactly once and in order.

        A broken stream is opened again where it broke. Raises ServiceUnreachable when the mesh has not answered for
        `patience` seconds.
        """
        following, breaks = max(from_sequence, 1), 0
        while True:
            request = pb.WatchExecutionRequest(
                namespace=self._last_seen.namespace, execution_id=self.id, from_sequence=following
            )
            stream = self._stub.WatchExecution(request)
            try:
                async for response in stream:
                    breaks = 0
                    for event in response.events:
                        if event.sequence >= following:
                            following = event.sequence + 1
                            yield event
                return
            except grpc.aio.AioRpcError as error:
                fault = self._peer.fault(error)
                if not _passes(fault):
                    raise fault from error
            finally:
                stream.cancel()
            await asyncio.sleep(_backoff(breaks))
            breaks += 1
            await self._reach(patience)

    async def result(self, timeout: float | None = None, *, patience: float = PATIENCE) -> Any:
        """
        What it returns, decoded if it is JSON and as a Payload otherwise; waits until it has ended.

        Raises ExecutionFailed, TimeoutError once `timeout` seconds have passed (it runs on), or ServiceUnreachable
        when the mesh has not answered for `patience` seconds.
        """
        async with asyncio.timeout(timeout):
            while self._last_seen.status == ExecutionStatus.EXECUTION_STATUS_RUNNING:
                async for _ in self.watch(self._last_seen.sequence + 1, patience=patience):
                    pass
                await self._reach(patience)
        if self._last_seen.status == ExecutionStatus.EXECUTION_STATUS_FAILED:
            raise ExecutionFailed(self.id, self._last_seen.failure)
        return decoded(self._last_seen.output)

    async def _reach(self, patience: float) -> None:
        """See where it stands, as soon as somebody answers."""
        loop = asyncio.get_running_loop()
        until, failures = loop.time() + patience, 0
        while True:
            left = until - loop.time()
            try:
                await self.describe(deadline=min(DEADLINE, max(left, 0.1)))
                return
            except Fault as fault:
                if not _passes(fault) or left <= 0:
                    raise
            await asyncio.sleep(_backoff(failures))
            failures += 1


def decoded(payload: Payload) -> Any:
    """The value in a JSON payload; any other payload as it is."""
    if payload.media_type not in ("", JSON):
        return payload
    return msgspec.json.decode(payload.data) if payload.data else None


def _passes(fault: Fault) -> bool:
    """Whether waiting may help: the service is away, stopping, or without its store."""
    return code_of(fault) is Code.UNAVAILABLE


def _backoff(failures: int) -> float:
    return random.uniform(0.5, 1) * min(_MAX_BACKOFF, _INITIAL_BACKOFF * 2.0 ** min(failures, 10))
