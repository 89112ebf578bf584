"""What people do to executions: each answer comes once what was asked for is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from forgemesh.faults import Violation
from forgemesh.faults.control import CheckpointNotFound, CheckpointSuperseded
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.checkpoint import checkpoint_at, sequence_of
from forgemesh.orchestrator.execution.commands.forks import Forks
from forgemesh.orchestrator.execution.commands.starts import StartRequest, Starts
from forgemesh.orchestrator.execution.control import Action, check_status
from forgemesh.orchestrator.execution.engine.arrivals import Arrivals
from forgemesh.orchestrator.execution.engine.awaited_ends import AwaitedEnds
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.owners import Elsewhere, Ended, Local, Owners
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.family import kin_of
from forgemesh.orchestrator.execution.forking import merge_patch
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.ports.starts import ClaimedBefore
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.queries.executions import NEVER, Executions
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.execution.trace.spans import RUN, span_id, span_owner
from forgemesh.orchestrator.values.identifiers import check_ids, id_before_renaming
from forgemesh.orchestrator.values.payload import Payload, content_of_payload, json_payload


class Controls:
    """`checksum` is that of an event as the store keeps it."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        owners: Owners,
        executions: Executions,
        starts: Starts,
        forks: Forks,
        awaited_ends: AwaitedEnds,
        arrivals: Arrivals,
        checksum: Callable[[e.Event], int],
    ) -> None:
        self._store = store
        self._engine = engine
        self._owners = owners
        self._executions = executions
        self._starts = starts
        self._forks = forks
        self._awaited_ends = awaited_ends
        self._arrivals = arrivals
        self._checksum = checksum

    async def pause(
        self, namespace: str, execution_id: str, request: e.PauseRequested, *, run_id: str = ""
    ) -> ExecutionState:
        """No step starts after the answer."""

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.pause(state, request)

        return await self._asked(namespace, execution_id, run_id, ask)

    async def resume(
        self, namespace: str, execution_id: str, checkpoint_id: str, by: str, *, run_id: str = ""
    ) -> ExecutionState:
        """It goes on; raises CheckpointSuperseded if `checkpoint_id` is set and not the newest one's."""
        if checkpoint_id:
            row = await self._executions.row(namespace, execution_id, run_id)
            await self._check_newest(row, checkpoint_id)
            run_id = row.run_id

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.resume(state, by)

        return await self._asked(namespace, execution_id, run_id, ask)

    async def cancel(
        self, namespace: str, execution_id: str, by: str, reason: str, *, run_id: str = ""
    ) -> ExecutionState:
        """It stops, and undoes what it did."""

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.cancel(state, by, reason)

        return await self._asked(namespace, execution_id, run_id, ask)

    async def terminate(
        self, namespace: str, execution_id: str, by: str, reason: str, *, run_id: str = ""
    ) -> ExecutionState:
        """It has ended."""

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.terminate(state, by, reason)

        met = await self._end_suspended(namespace, execution_id, run_id, ask)
        if met:
            return await self._executions.get(namespace, execution_id, met)
        return await self._asked(namespace, execution_id, run_id, ask)

    async def signal(
        self, namespace: str, execution_id: str, request: e.SignalReceived, *, run_id: str = ""
    ) -> tuple[bool, int, str]:
        """Whether the signal is new, the sequence number of the event that keeps it, and the run that has it."""
        check_ids(**{"signal.name": request.name})
        sequence = 0

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            nonlocal sequence
            facts = control.signal(state, request)
            sequence = state.sequence + 1 if facts else state.signal_ids[request.signal_id][0]
            return facts

        events, met = await self._command(namespace, execution_id, run_id, ask)
        return bool(events), sequence, (met.state if isinstance(met, Running) else met).run_id

    async def resolve(
        self,
        namespace: str,
        execution_id: str,
        path: str,
        action: Literal["retry", "complete", "fail"],
        payload: Payload | None,
        by: str,
        reason: str,
        *,
        run_id: str = "",
    ) -> ExecutionState:
        """A step that waits for a person goes on."""

        def ask(state: ExecutionState) -> Sequence[e.Fact]:
            return control.resolve(state, path, action, payload, by, reason)

        return await self._asked(namespace, execution_id, run_id, ask)

    async def delete(self, namespace: str, execution_id: str, *, run_id: str = "") -> str:
        """
        Forget an execution that has ended, and its run; one that is not there is forgotten already and has none.

        Raises faults.control.ExecutionState also for a child whose end its parent has not taken up yet.
        """
        row = await self._store.find(namespace, execution_id, run_id)
        if row is None:
            return ""
        check_status(row.execution_id, row.status, Action.DELETE)
        await self._awaited_ends.check(row)
        await self._store.delete_execution(row.key, self._engine.shard)
        return row.run_id

    async def fork(
        self,
        request: StartRequest,
        origin_id: str,
        checkpoint_id: str,
        patch: Payload | None,
        rerun: Sequence[str],
        *,
        keep_signals: bool,
        run_id: str = "",
    ) -> tuple[ExecutionState, bool]:
        """`request` says what the new execution is to be; its workflow and input are those of the origin."""
        asked = (
            "fork",
            *(origin_id, run_id, checkpoint_id, request.execution_id, request.version),
            content_of_payload(patch) if patch is not None else None,
            tuple(rerun),
            keep_signals,
        )
        request = replace(request, asked=asked)
        earlier = await self._starts.answered(request)
        if earlier is not None:
            return earlier
        row = await self._executions.row(request.namespace, origin_id, run_id)
        state = await self._at(row, checkpoint_id)
        _check_rerun(state, rerun)
        started = state.started
        assert started is not None
        kin, owner = kin_of(state, None), span_owner(started, id_before_renaming(row.execution_id))
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
                root_run=kin.root,
                generation=kin.generation,
            ),
            linked_span=f"{state.trace_id}-{span_id(owner, (RUN,)).hex()}",
            asked=asked,
            check=self._forks.check_of(row),
        )
        answered = await self._starts.answered(fork)
        if answered is not None:
            return answered
        signals = [signal for kept in state.signals.values() for _, signal in kept] if keep_signals else []
        while True:
            newest = await self._at(row, "") if checkpoint_id else state
            given = fork.input if fork.input != started.input else None
            facts = await self._forks.facts(state, newest, fork.version, rerun, given=given)
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

    async def _end_suspended(
        self, namespace: str, execution_id: str, run_id: str, ask: Callable[[ExecutionState], Sequence[e.Fact]]
    ) -> str:
        """The run of an execution that nobody runs and that has ended by it; nothing for any other one."""
        match await self._owners.find(namespace, execution_id, run_id):
            case Local() | Ended():
                return ""
            case Elsewhere(row):
                state = await self._executions.stored(row)
                ended = state.ended is None and await self._arrivals.end(row, state.definition, ask)
                return row.run_id if ended else ""

    async def _asked(
        self, namespace: str, execution_id: str, run_id: str, ask: Callable[[ExecutionState], Sequence[e.Fact]]
    ) -> ExecutionState:
        """The execution with what follows of it, once that is durable; look at it before the next await."""
        _, met = await self._command(namespace, execution_id, run_id, ask)
        return await self._executions.now(met) if isinstance(met, Running) else met

    async def _command(
        self, namespace: str, execution_id: str, run_id: str, ask: Callable[[ExecutionState], Sequence[e.Fact]]
    ) -> tuple[list[e.Event], Running | ExecutionState]:
        """
        What follows of it, once that is durable, and the execution that it met, which may have gone on.

        Of one that has ended, `ask` refuses whatever is not on record already.
        """
        match await self._owners.find(namespace, execution_id, run_id):
            case Local(running):
                return await self._engine.command(running, ask), running
            case Elsewhere(row):
                raise ExecutionSuspended(row.execution_id, self._engine.set_aside(namespace, row.execution_id))
            case Ended(row):
                state = await self._executions.stored(row)
                ask(state)
                return [], state


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
