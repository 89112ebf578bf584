"""What forks begin with: who owns which effect is asked of the store, what follows from that is the domain's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping

from forgemesh.faults.control import ExecutionState as Refused
from forgemesh.faults.workflow import ExecutionNotFound
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.compensation import is_undone
from forgemesh.orchestrator.execution.control import Action, check
from forgemesh.orchestrator.execution.engine.history import read_state
from forgemesh.orchestrator.execution.engine.owners import Owners
from forgemesh.orchestrator.execution.fork_names import name_in_fork
from forgemesh.orchestrator.execution.forking import Holder, check_origin, lent, run_of, takeover
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.definitions import Definitions


class Forks:
    """An effect has one owner: the execution that made it, or the fork that has claimed it of its owner."""

    def __init__(self, store: HistoryStore, owners: Owners, definitions: Definitions) -> None:
        self._store = store
        self._owners = owners
        self._definitions = definitions

    async def facts(
        self,
        state: ExecutionState,
        newest: ExecutionState,
        version: str,
        rerun: Collection[str],
        *,
        given: Payload | None,
    ) -> list[e.Fact]:
        """
        What a fork begins with behind its start; see forking.takeover. `given` is its input, if it is another one.

        Raises faults.control.ExecutionState if the origin is being undone, or nobody knows whether it was.
        """
        check(newest, Action.FORK)
        check_origin(newest)
        found = await self._definitions.find(newest.namespace, newest.definition.name, version)
        known: dict[str, ExecutionState | None] = {}
        holders = await self._holders(newest, rerun, known)
        undone = await self._undone_elsewhere(newest, known)
        target: Definition = found.definition
        return takeover(state, newest, target, rerun, holders=holders, undone=undone, given=given)

    def check_of(self, row: ExecutionRow) -> Callable[[], None]:
        """To be asked when the fork is written: the origin may have begun to undo what it did meanwhile."""

        def ask() -> None:
            running = self._owners.local(row.namespace, row.execution_id, row.run_id)
            if running is not None:
                check(running.state, Action.FORK)
                check_origin(running.state)

        return ask

    async def _holders(
        self, origin: ExecutionState, rerun: Collection[str], known: dict[str, ExecutionState | None]
    ) -> Mapping[str, Holder]:
        """Who has the effects that forks of the origin have claimed."""
        holders: dict[str, Holder] = {}
        for path, run in (await self._store.claims(origin.run_id)).items():
            holder = await self._holder(run, name_in_fork(path), known)
            if holder is None and not any(path == again or path.startswith(f"{again}/") for again in rerun):
                hint = (
                    f"the effect of {path!r} went over to a fork that was deleted since, and nobody knows whether it"
                    f" was undone; look, and run the step again with `--rerun {path}`"
                )
                raise Refused(origin.execution_id, Action.FORK.value, origin.status.value, hint)
            holders[path] = holder if holder is not None else Holder("", stands=False)
        return holders

    async def _holder(self, run: str, path: str, known: dict[str, ExecutionState | None]) -> Holder | None:
        """The last one to claim it; None if that one is no longer there."""
        while following := (await self._store.claims(run)).get(path):
            run, path = following, name_in_fork(path)
        state = await self._state(run, known)
        return Holder(run_of(state), not is_undone(state, path)) if state is not None else None

    async def _undone_elsewhere(
        self, origin: ExecutionState, known: dict[str, ExecutionState | None]
    ) -> Collection[str]:
        """Steps of the origin that rest on effects of another execution, which has begun to undo what it did."""
        undone: set[str] = set()
        for path, owner in lent(origin).items():
            _, separator, run = owner.rpartition("@")
            state = await self._state(run, known) if separator else None
            if state is not None and state.compensating:
                undone.add(path)
        return undone

    async def _state(self, run: str, known: dict[str, ExecutionState | None]) -> ExecutionState | None:
        if run not in known:
            row = await self._store.find_run(run)
            known[run] = None
            if row is not None:
                found = await self._definitions.find(row.namespace, row.workflow, row.workflow_version)
                with contextlib.suppress(ExecutionNotFound):  # deleted meanwhile
                    known[run] = await read_state(self._store, row, found.definition)
        return known[run]
