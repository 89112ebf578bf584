"""Ends of executions that those that wait for them have yet to take up: until then they must not be forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from forgemesh.faults.control import ExecutionState as Refused
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.control import Action
from forgemesh.orchestrator.execution.engine.history import read_state
from forgemesh.orchestrator.execution.engine.owners import Owners
from forgemesh.orchestrator.execution.family import begun_as
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.identifiers import id_before_renaming
from forgemesh.orchestrator.workflow.definitions import Definitions


@dataclass(frozen=True, slots=True)
class AwaitedEnds:
    """Whoever does not find the child that it had started starts it again: what that one did would happen twice."""

    store: HistoryStore
    owners: Owners
    definitions: Definitions

    async def check(self, child: ExecutionRow) -> None:
        """
        Raises faults.control.ExecutionState if a step of an open execution waits for the end of this one, which has
        ended. Otherwise nothing that could be lost keeps any from having it for good.
        """
        async for parent in self._open_parents(child):
            running = self.owners.local(parent.namespace, parent.execution_id, parent.run_id)
            state = running.state if running is not None else await self._stored(parent)
            if state is not None and _waits(state, child):
                name = parent.execution_id
                hint = f"execution {name!r} waits for its end, and has not taken it up yet;"
                hint = f"{hint} see `forgemesh execution explain {name}`"
                raise Refused(child.execution_id, Action.DELETE.value, child.status.value, hint)
            if running is not None:
                await running.durable()

    async def _open_parents(self, child: ExecutionRow) -> AsyncIterator[ExecutionRow]:
        """The run that started it; or, of an import, what bears its parent's name."""
        if not child.parent_id or not child.parent_run:
            return
        by_run = await self.store.find_run(child.parent_run)
        parent = by_run or await self.store.find(child.namespace, child.parent_id)
        if parent is not None and not parent.status.final:
            yield parent

    async def _stored(self, parent: ExecutionRow) -> ExecutionState | None:
        """None for what cannot be read: nothing goes on there."""
        try:
            found = await self.definitions.find(parent.namespace, parent.workflow, parent.workflow_version)
            return await read_state(self.store, parent, found.definition)
        except DataCorrupted:
            return None


def _waits(parent: ExecutionState, child: ExecutionRow) -> bool:
    if child.parent_run not in (parent.run_id, begun_as(parent)):
        return False
    name = id_before_renaming(child.execution_id)
    attempts = [step.started for step in parent.open_attempts.values()]
    return any(started is not None and started.child_id == name for started in attempts)
