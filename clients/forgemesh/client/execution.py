"""One execution as its caller holds it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from forgemesh.api.orchestrator.v1 import control_pb2, orchestrator_service_pb2 as pb
from forgemesh.client.archive import TRANSFER_DEADLINE, save
from forgemesh.client.control import (
    Cancel,
    Delete,
    IncidentAction,
    Pause,
    PauseMode,
    Resolve,
    Resume,
    Signal,
    Terminate,
)
from forgemesh.client.execution_filter import ExecutionFilter
from forgemesh.client.failure import ExecutionFailed
from forgemesh.client.payload import decoded, encoded
from forgemesh.client.peer import DEADLINE, PATIENCE, Peer, backoff, passes
from forgemesh.client.status import FINAL, Status
from forgemesh.faults import Fault
from forgemesh.faults.workflow import ExecutionNotFound

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

_TURNS = frozenset(
    {
        "execution_admitted",
        "pause_requested",
        "execution_paused",
        "execution_resumed",
        "cancel_requested",
        "stop_requested",
        "compensation_started",
    }
)
"""Events with which an open execution's status may change."""


class ExecutionHandle:
    """
    A started execution. It runs on whether or not anybody holds a handle of it.

    Every method raises the Fault (forgemesh.faults) with which the mesh refused, or ServiceUnreachable; what changes
    the execution is repeated for 30 s while the orchestrator is away, a signal without an id only if nobody has taken
    it. `by` is who asks, for the history; None is the user of this process at its host.
    """

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
    def run_id(self) -> str:
        """Tells it from every other execution that has had, or will have, its id; all that is asked is asked of it."""
        return self._last_seen.run_id

    @property
    def reference(self) -> str:
        """ID@RUN, as tools and `Client.execution` take it."""
        return f"{self.id}@{self.run_id}" if self.run_id else self.id

    @property
    def trace_id(self) -> str:
        """The trace that all its spans belong to, 32 hex digits."""
        return self._last_seen.trace_id

    @property
    def last_seen(self) -> Execution:
        """Where it stood when the mesh was last asked; a part of it if it says `left_out`."""
        return self._last_seen

    async def describe(self, *, deadline: float = DEADLINE) -> Execution:
        """Where it stands now, with its steps."""
        found = await self._get(self.id, deadline)
        if not self.run_id and found.trace_id != self.trace_id:  # the orchestrator's release does not know runs
            found = await self._get(await self._id_since_replaced(deadline), deadline)
        return self._seen(found)

    async def watch(
        self, from_sequence: int = 1, *, patience: float = PATIENCE
    ) -> AsyncGenerator[ExecutionEvent, None]:
        """
        Its events from a sequence number on, up to its last one, each exactly once and in order.

        A broken stream is opened again where it broke. Raises ServiceUnreachable when the mesh has not answered for
        `patience` seconds.
        """
        following, breaks = max(from_sequence, 1), 0
        while True:
            namespace, execution_id, run_id = self._key
            request = pb.WatchExecutionRequest(
                namespace=namespace, execution_id=execution_id, run_id=run_id, from_sequence=following
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
                if not passes(fault):
                    raise fault from error
            finally:
                stream.cancel()
            await asyncio.sleep(backoff(breaks))
            breaks += 1
            await self._reach(patience)

    async def result(self, timeout: float | None = None, *, patience: float = PATIENCE) -> Any:
        """
        What it returns, decoded if it is JSON and as a Payload otherwise; waits until it has ended.

        Raises ExecutionFailed if it did not end well, PayloadUnreadable if what is kept says that it is JSON and is
        none (`last_seen.output` has the bytes), TimeoutError once `timeout` seconds have passed (it runs on), or
        ServiceUnreachable when the mesh has not answered for `patience` seconds.
        """
        async with asyncio.timeout(timeout):
            ended = await self._until(FINAL, patience)
        if Status.of(ended) is not Status.SUCCEEDED:
            raise ExecutionFailed(self.id, ended.failure, Status.of(ended), ended.left_to_do)
        return decoded(ended.output, f"the output of execution {self.id!r}")

    async def wait(
        self, until: Collection[Status] = FINAL, *, timeout: float | None = None, patience: float = PATIENCE
    ) -> Execution:
        """
        Where it stands once its status is one of `until`, or once it has ended, however it did.

        Raises TimeoutError and ServiceUnreachable like `result`.
        """
        async with asyncio.timeout(timeout):
            await self._reach(patience)
            return await self._until(until, patience)

    async def pause(
        self, mode: PauseMode = "drain", *, hold_clock: bool = False, reason: str = "", by: str | None = None
    ) -> Execution:
        """Start nothing new until it is resumed, see `Pause`; PAUSING while something is still in flight."""
        request = Pause(mode=mode, hold_clock=hold_clock, reason=reason, by=by).request(*self._key)
        return await self._change(self._stub.PauseExecution, request)

    async def resume(self, checkpoint_id: str = "", *, by: str | None = None) -> Execution:
        """Let it go on; with a checkpoint only if that is the newest, else CheckpointSuperseded is raised."""
        request = Resume(checkpoint_id=checkpoint_id, by=by).request(*self._key)
        return await self._change(self._stub.ResumeExecution, request)

    async def cancel(self, reason: str = "", *, by: str | None = None) -> Execution:
        """Stop it: what runs is taken back, then what it did is undone. `wait` tells when that is through."""
        request = Cancel(reason=reason, by=by).request(*self._key)
        return await self._change(self._stub.CancelExecution, request)

    async def terminate(self, reason: str = "", *, by: str | None = None) -> Execution:
        """End it at once; nothing is undone."""
        request = Terminate(reason=reason, by=by).request(*self._key)
        return await self._change(self._stub.TerminateExecution, request)

    async def signal(self, name: str, payload: object = None, *, signal_id: str = "", by: str | None = None) -> bool:
        """Send a signal, see `Signal`; False if one with this `signal_id` had come before."""
        request = Signal(name=name, payload=payload, signal_id=signal_id, by=by).request(*self._key)
        patience = PATIENCE if signal_id else self._peer.waits
        call = self._peer.call(self._stub.SignalExecution, request, patience=patience, repeatable=bool(signal_id))
        return (await call).received

    async def resolve(
        self,
        step_path: str,
        action: IncidentAction,
        payload: object = None,
        *,
        reason: str = "",
        by: str | None = None,
    ) -> Execution:
        """Decide about a step that waits for a person, see `Resolve`; raises NoIncident if it does not."""
        decision = Resolve(step_path=step_path, action=action, payload=payload, reason=reason, by=by)
        return await self._change(self._stub.ResolveIncident, decision.request(*self._key))

    async def delete(self) -> None:
        """Forget it with its history; raises faults.control.ExecutionState while it is open."""
        await self._peer.call(self._stub.DeleteExecution, Delete().request(*self._key), patience=self._peer.waits)

    async def fork(
        self,
        checkpoint_id: str = "",
        *,
        input_patch: object = None,
        rerun_steps: Sequence[str] = (),
        version: str | None = None,
        execution_id: str | None = None,
        request_id: str | None = None,
        keep_signals: bool = False,
    ) -> ExecutionHandle:
        """
        A new execution with the results that this one had at a checkpoint, or has; this one stays as it is.

        `input_patch` is a JSON Merge Patch (RFC 7396) for the input. The results of `rerun_steps` and of what comes
        after them in their sequence are not taken over. With `keep_signals`, signals that no step had taken are.
        """
        request = control_pb2.ForkExecutionRequest(
            namespace=self._last_seen.namespace,
            execution_id=self.id,
            run_id=self.run_id,
            checkpoint_id=checkpoint_id,
            new_execution_id=execution_id or "",
            request_id=request_id or secrets.token_hex(16),
            workflow_version=version or "",
            input_patch=encoded(input_patch, "the patch", "input_patch"),
            rerun_steps=rerun_steps,
            keep_signals=keep_signals,
        )
        patience = PATIENCE if request_id else self._peer.waits
        answer = await self._peer.call(self._stub.ForkExecution, request, patience=patience)
        return ExecutionHandle(self._stub, self._peer, answer.execution)

    async def explain(self) -> control_pb2.ExplainExecutionResponse:
        """Why it does not move, and when it will: from the engine's own state."""
        namespace, execution_id, run_id = self._key
        request = control_pb2.ExplainExecutionRequest(namespace=namespace, execution_id=execution_id, run_id=run_id)
        return await self._peer.call(self._stub.ExplainExecution, request)

    async def checkpoints(self) -> list[control_pb2.Checkpoint]:
        """All points from which it can be forked, in order of time."""
        found: list[control_pb2.Checkpoint] = []
        namespace, execution_id, run_id = self._key
        request = control_pb2.ListCheckpointsRequest(
            namespace=namespace, execution_id=execution_id, run_id=run_id, page_size=500
        )
        while True:
            page = await self._peer.call(self._stub.ListCheckpoints, request)
            found += page.checkpoints
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def archive(self) -> AsyncGenerator[bytes, None]:
        """It as a file that another mesh can import, in pieces."""
        namespace, execution_id, run_id = self._key
        request = control_pb2.ExportExecutionRequest(namespace=namespace, execution_id=execution_id, run_id=run_id)
        stream = self._stub.ExportExecution(request, timeout=TRANSFER_DEADLINE)
        try:
            async for response in stream:
                yield response.chunk
        except grpc.aio.AioRpcError as error:
            raise self._peer.fault(error, TRANSFER_DEADLINE) from error
        finally:
            stream.cancel()

    async def export(self, path: str | Path) -> None:
        """Write it to a file that another mesh can import; the file is whole, or stays as it was."""
        async with aclosing(self.archive()) as pieces:
            await save(pieces, Path(path))

    @property
    def _key(self) -> tuple[str, str, str]:
        return self._last_seen.namespace, self.id, self.run_id

    async def _change(self, method: Callable[..., Awaitable[Any]], request: Any) -> Execution:
        """Asked for twice it is the same, so that an orchestrator that is away is waited for."""
        return self._seen((await self._peer.call(method, request, patience=self._peer.waits)).execution)

    def _seen(self, execution: Execution) -> Execution:
        self._last_seen = execution
        return execution

    async def _get(self, execution_id: str, deadline: float) -> Execution:
        namespace, _, run_id = self._key
        request = pb.GetExecutionRequest(namespace=namespace, execution_id=execution_id, run_id=run_id)
        return (await self._peer.call(self._stub.GetExecution, request, deadline=deadline)).execution

    async def _id_since_replaced(self, deadline: float) -> str:
        """Under which id it is kept since another execution got the one it had."""
        kept = ExecutionFilter(id_prefix=f"{self.id}~").message()
        request = pb.ListExecutionsRequest(namespace=self._last_seen.namespace, filter=kept, page_size=500)
        answer = await self._peer.call(self._stub.ListExecutions, request, deadline=deadline)
        for execution in answer.executions:
            if execution.trace_id == self.trace_id:
                return execution.execution_id
        raise ExecutionNotFound(self.id)

    async def _until(self, until: Collection[Status], patience: float) -> Execution:
        if self._last_seen.left_out:
            await self._reach(patience)
        while Status.of(self._last_seen) not in until and not Status.of(self._last_seen).final:
            async with aclosing(self.watch(self._last_seen.sequence + 1, patience=patience)) as events:
                async for event in events:
                    if event.WhichOneof("kind") in _TURNS:
                        break
            await self._reach(patience)
        return self._last_seen

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
                if not passes(fault) or left <= 0:
                    raise
            await asyncio.sleep(backoff(failures))
            failures += 1
