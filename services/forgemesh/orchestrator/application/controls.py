"""What people do to executions: each answer comes once what was asked for is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from forgemesh.faults import Violation
from forgemesh.faults.control import CheckpointNotFound, CheckpointSuperseded
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.application.engine import Engine
from forgemesh.orchestrator.application.executions import NEVER, Executions
from forgemesh.orchestrator.application.forks import Forks
from forgemesh.orchestrator.application.identifiers import check_ids
from forgemesh.orchestrator.application.starts import StartRequest, Starts
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.checkpoint import checkpoint_at, sequence_of
from forgemesh.orchestrator.domain.control import Action, check_status
from forgemesh.orchestrator.domain.forking import merge_patch
from forgemesh.orchestrator.domain.payload import Payload, json_payload
from forgemesh.orchestrator.domain.state import ExecutionState
from forgemesh.orchestrator.domain.trace import RUN, span_id
from forgemesh.orchestrator.ports import ClaimedBefore, ExecutionRow, Store


class Controls:
    """`checksum` is that of an event as the store keeps it."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        executions: Executions,
        starts: Starts,
        forks: Forks,
        checksum: Callable[[e.Event], int],
    ) -> None:
        self._store = store
        self._engine = engine
        self._executions = executions
        self._starts = starts
        self._forks = forks
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
        _check_rerun(state, rerun)
        started = state.started
        assert started is not None
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
            check=self._forks.check_of(row),
        )
        answered = await self._starts.answered(fork)
        if answered is not None:
            return answered
        signals = [signal for kept in state.signals.values() for _, signal in kept] if keep_signals else []
        while True:
            newest = await self._at(row, "") if checkpoint_id else state
            same = fork.input == started.input
            facts = await self._forks.facts(state, newest, fork.version, rerun, same_input=same)
            try:
                return await self._starts.start(replace(fork, facts=[*facts, *signals]))
            except ClaimedBefore:  # another fork was faster: what it owns now is not ours
                state = await self._at(row, checkpoint_id)

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


def _check_rerun(state: ExecutionState, rerun: Sequence[str]) -> None:
    """Raises InvalidRequest for what is no step that has begun."""
    begun = [path for path, step in state.steps.items() if step.compensates is None]
    unknown = set(rerun) - set(begun)
    if unknown:
        message = "no step of the origin has this path by then; those that have begun"
        known = ", ".join(begun[:20])
        raise InvalidRequest([Violation("rerun_steps", f"{path!r}: {message}: {known}") for path in sorted(unknown)])


def _patched(given: Payload, patch: Payload | None) -> Payload:
    """Raises InvalidRequest if either is not JSON."""
    if patch is None:
        return given
    try:
        return json_payload(merge_patch(given.value(), patch.value()))
    except ValueError as error:
        raise InvalidRequest([Violation("input_patch", str(error))]) from error
