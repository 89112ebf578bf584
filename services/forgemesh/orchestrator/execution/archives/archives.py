"""Executions as files that another mesh can take over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import ExecutionExists
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.engine.arrivals import Arrivals
from forgemesh.orchestrator.execution.engine.history import pages
from forgemesh.orchestrator.execution.fold import restore
from forgemesh.orchestrator.execution.plausibility import check_event, check_rest
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.queries.executions import Executions
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.identifiers import check_ids, id_before_renaming
from forgemesh.orchestrator.workflow.definition import Definition, Published
from forgemesh.orchestrator.workflow.definitions import Definitions

CHUNK = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What a file holds."""

    namespace: str
    execution_id: str
    source: str
    published: dict[str, Published]
    events: list[e.Event]


class Packing(Protocol):
    """The format of the file."""

    def pack(self, archive: Archive) -> bytes: ...

    def unpack(self, data: bytes) -> Archive:
        """Raises DataCorrupted, or ArchiveUnreadable for a format of a newer release."""


class Archives:
    """Histories travel as they are: whoever takes one over sees what its first mesh saw."""

    def __init__(
        self,
        store: HistoryStore,
        arrivals: Arrivals,
        definitions: Definitions,
        executions: Executions,
        packing: Packing,
    ) -> None:
        self._store = store
        self._arrivals = arrivals
        self._definitions = definitions
        self._executions = executions
        self._packing = packing

    async def export(self, namespace: str, execution_id: str, run_id: str = "") -> AsyncIterator[bytes]:
        """The file in pieces; raises what Executions.row raises, also if it is deleted meanwhile."""
        row = await self._executions.row(namespace, execution_id, run_id)
        stored = await self._definitions.find(namespace, row.workflow, row.workflow_version)
        history: list[e.Event] = []
        async for found in pages(self._store, row):
            history += found
        archive = Archive(
            namespace=namespace,
            execution_id=id_before_renaming(execution_id),  # another one may have it here, and not where this goes
            source=stored.definition.source,
            published=dict(stored.definition.published),
            events=history,
        )
        data = self._packing.pack(archive)
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]

    async def take_over(self, namespace: str, execution_id: str, data: bytes) -> ExecutionState:
        """Keep an exported execution; one that has not ended arrives paused. Raises ExecutionExists."""
        archive = await asyncio.to_thread(self._packing.unpack, data)  # a large one takes a while
        name = execution_id or archive.execution_id
        check_ids(namespace=namespace, execution_id=name)
        if await self._store.find(namespace, name) is not None:
            raise ExecutionExists(name)
        definition = await self._definitions.read(namespace, archive.source, archive.published)
        state = _folded(namespace, name, definition, archive.events)
        state.definition = await self._definitions.keep(definition)
        await self._arrivals.adopt(state, archive.events)
        return await self._executions.get(namespace, name)


def _folded(namespace: str, name: str, definition: Definition, history: Sequence[e.Event]) -> ExecutionState:
    """Raises DataCorrupted for events that are no history of an execution of this definition."""
    state = ExecutionState(namespace, name, definition)
    try:
        for event in history:
            check_event(state, event)
            restore(state, event)
        check_rest(state)
    except Exception as error:
        raise DataCorrupted("exported execution", repr(error)) from error
    if state.started is None or state.started.content_hash != definition.content_hash:
        raise DataCorrupted("exported execution", "it does not begin with the start of the definition that is in it")
    return state
