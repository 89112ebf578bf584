"""Reading what the store has of an execution."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from forgemesh.faults.control import ExecutionSuperseded
from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import ExecutionNotFound
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fold import restore
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts
from forgemesh.orchestrator.values.identifiers import id_before_renaming
from forgemesh.orchestrator.workflow.definition import Definition

PAGE = 1_000
NO_SPANS = 1 << 62
"""A sequence number that no event reaches."""


async def row_of(store: HistoryStore, namespace: str, execution_id: str, run_id: str = "") -> ExecutionRow:
    """
    What lists show of it: of that run or, if none is named, of the one that has the id.

    Raises ExecutionNotFound, and ExecutionSuperseded if another run has the id of the one that is named.
    """
    row = await store.find(namespace, execution_id, run_id)
    if row is not None:
        return row
    current = await store.find(namespace, execution_id) if run_id else None
    if current is not None:
        raise ExecutionSuperseded(execution_id, run_id, current.run_id)
    raise ExecutionNotFound(execution_id, run_id)


async def pages(store: HistoryStore, row: ExecutionRow) -> AsyncIterator[list[e.Event]]:
    """
    The events of an execution from the first one on, at least as many as there were when the row was read.

    Raises ExecutionNotFound if it is deleted meanwhile: what was read until then is no history of it, and whoever took
    it for one would see an execution that has ended go on.
    """
    read = 0
    while events := await store.events(row.key, read + 1, PAGE):
        read += len(events)
        yield events
    if read < row.sequence:
        raise ExecutionNotFound(row.execution_id, row.run_id)


async def read_history(
    store: HistoryStore,
    row: ExecutionRow,
    definition: Definition,
    shown: Callable[[ExecutionTrace, list[SpanFacts]], object],
    spans_from: int = NO_SPANS,
) -> tuple[ExecutionState, ExecutionTrace]:
    """State and trace; spans of events from `spans_from` on are `shown`. Raises DataCorrupted and ExecutionNotFound."""
    state = ExecutionState(row.namespace, row.execution_id, definition, run_id=row.run_id)
    trace = ExecutionTrace(id_before_renaming(row.execution_id), definition)
    async for events in pages(store, row):
        for event in events:
            try:
                finished = trace.project(event) if restore(state, event) else []
            except (ValueError, KeyError, IndexError, AssertionError) as error:
                raise DataCorrupted(f"event {row.key}/{event.sequence}", repr(error)) from error
            if event.sequence >= spans_from:
                shown(trace, finished)
    return state, trace


async def read_state(store: HistoryStore, row: ExecutionRow, definition: Definition) -> ExecutionState:
    """The state as far as it is durable. Raises DataCorrupted and ExecutionNotFound."""
    state, _ = await read_history(store, row, definition, lambda trace, spans: None)
    return state
