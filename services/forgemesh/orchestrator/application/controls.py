"""What people do to executions: each answer comes once what was asked for is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from forgemesh.faults import Violation
from forgemesh.faults.control import CheckpointNotFound, CheckpointSuperseded
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.application.engine import Engine
from forgemesh.orchestrator.application.executions import NEVER, Executions
from forgemesh.orchestrator.application.identifiers import check_ids
from forgemesh.orchestrator.application.starts import StartRequest, Starts
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.checkpoint import checkpoint_at, sequence_of
from forgemesh.orchestrator.domain.control import Action, check_status
from forgemesh.orchestrator.domain.forking import merge_patch, results
from forgemesh.orchestrator.domain.payload import Payload, json_payload
from forgemesh.orchestrator.domain.state import ExecutionState
from forgemesh.orchestrator.domain.trace import RUN, span_id
from forgemesh.orchestrator.ports import ExecutionRow, Store


class Controls:
    """`checksum` is that of an event as the store keeps it."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        executions: Executions,
        starts: Starts,
        checksum: Callable[[e.Event], int],
    ) -> None:
        self._store = store
        self._engine = engine
        self._executions = executions
        self._starts = starts
        self._checksum = checksum

    async def pause(self, namespace: str, execution_id: str, request: e.PauseRequested) -> ExecutionState:
        """No step starts after the answer."""
        await self._command(namespace, execution_id, lambda state: control.pause(state, request))
        return await self._executions.get(namespace, execution_id)

    async def resume(self, namespace: str, execution_id: str, checkpoint_id: str, by: str) -> ExecutionState:
        """It goes on; raises CheckpointSuperseded if `checkpoint_id` is set and not the newest one's."""
        if checkpoint_id:
            await self._check_newest(await self._executions.row(namespace, execution_id), checkpoint_id)
        await self._command(namespace, execution_id, lambda state: control.resume(state, by))
        return await self._executions.get(namespace, execution_id)

    async def cancel(self, namespace: str, execution_id: str, by: str, reason: str) -> ExecutionState:
        """It stops, and undoes what it did."""
        await self._command(namespace, execution_id, lambda state: control.cancel(state, by, reason))
        return await self._executions.get(namespace, execution_id)

    async def terminate(self, namespace: str, execution_id: str, by: str, reason: str) -> ExecutionState:
        """It has ended."""

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.terminate(state, by, reason)

        await self._command(namespace, execution_id, ask)
        return await self._executions.get(namespace, execution_id)

    async def signal(self, namespace: str, execution_id: str, request: e.SignalReceived) -> tuple[bool, int]:
        """Whether the signal is new, and the sequence number of the event that keeps it."""
        check_ids(**{"signal.name": request.name})
        sequence = 0

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            nonlocal sequence
            facts = control.signal(state, request)
            sequence = state.sequence + 1 if facts else state.signal_ids[request.signal_id]
            return facts

        events = await self._command(namespace, execution_id, ask)
        return bool(events), sequence

    async def resolve(
        self,
        namespace: str,
        execution_id: str,
        path: str,
        action: Literal["retry", "complete", "fail"],
        payload: Payload | None,
        by: str,
        reason: str,
    ) -> ExecutionState:
        """A step that waits for a person goes on."""

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.resolve(state, path, action, payload, by, reason)

        await self._command(namespace, execution_id, ask)
        return await self._executions.get(namespace, execution_id)

    async def delete(self, namespace: str, execution_id: str) -> None:
        """Forget an execution that has ended; one that is not there is forgotten already."""
        row = await self._store.find(namespace, execution_id)
        if row is not None:
            check_status(execution_id, row.status, Action.DELETE)
            await self._store.delete_execution(row.key)

    async def fork(
        self,
        request: StartRequest,
        origin_id: str,
        checkpoint_id: str,
        patch: Payload | None,
        rerun: Sequence[str],
        *,
        keep_signals: bool,
    ) -> tuple[ExecutionState, bool]:
        """`request` says what the new execution is to be; its workflow and input are those of the origin."""
        row = await self._executions.row(request.namespace, origin_id)
        state = await self._at(row, checkpoint_id)
        check_status(origin_id, row.status, Action.FORK)
        unknown = [path for path in rerun if path not in state.steps]
        if unknown:
            known = ", ".join(list(state.steps)[:20])
            message = "no step of the origin has this path by then; those that have begun"
            raise InvalidRequest([Violation("rerun_steps", f"{path!r}: {message}: {known}") for path in unknown])
        started = state.started
        assert started is not None
        facts: list[e.Fact] = list(results(state, rerun))
        if keep_signals:
            facts += [signal for kept in state.signals.values() for _, signal in kept]
        fork = StartRequest(
            namespace=request.namespace,
            workflow=row.workflow,
            version=request.version or row.workflow_version,
            execution_id=request.execution_id,
            request_id=request.request_id,
            input=_patched(started.input, patch),
            caller=request.caller,
            priority=started.priority,
            origin=e.Origin(
                forked_from=origin_id,
                forked_run=row.run_id,
                forked_sequence=state.sequence,
                forked_trace=state.trace_id,
            ),
            linked_span=f"{state.trace_id}-{span_id(started, origin_id, (RUN,)).hex()}",
            facts=facts,
        )
        return await self._starts.start(fork)

    async def _at(self, row: ExecutionRow, checkpoint_id: str) -> ExecutionState:
        """The state at a checkpoint, or as it is; raises CheckpointNotFound."""
        upto = sequence_of(checkpoint_id) if checkpoint_id else NEVER
        last: tuple[ExecutionState, e.Event] | None = None
        if upto is not None:
            async for reached in self._executions.replay(row, upto):
                last = reached
        if last is None:
            raise CheckpointNotFound(row.execution_id, checkpoint_id)
        state, event = last
        if checkpoint_id:
            found = checkpoint_at(state, event, self._checksum(event))
            if found is None or found.id != checkpoint_id:
                raise CheckpointNotFound(row.execution_id, checkpoint_id)
        return state

    async def _check_newest(self, row: ExecutionRow, checkpoint_id: str) -> None:
        newest = await self._executions.newest_checkpoint(row)
        if newest is None or newest.id != checkpoint_id:
            await self._at(row, checkpoint_id)
            raise CheckpointSuperseded(row.execution_id, checkpoint_id, newest.id if newest is not None else "")

    async def _command(
        self, namespace: str, execution_id: str, ask: Callable[[ExecutionState], Sequence[e.Fact]]
    ) -> list[e.Event]:
        """Of one that has ended, `ask` refuses whatever is not on record already."""
        running = self._engine.running(namespace, execution_id)
        if running is not None:
            return await self._engine.command(running, ask)
        state = await self._executions.get(namespace, execution_id)
        if state.ended is None:
            raise ExecutionSuspended(execution_id)
        ask(state)
        return []


def _patched(given: Payload, patch: Payload | None) -> Payload:
    """Raises InvalidRequest if either is not JSON."""
    if patch is None:
        return given
    try:
        return json_payload(merge_patch(given.value(), patch.value()))
    except ValueError as error:
        raise InvalidRequest([Violation("input_patch", str(error))]) from error
