"""Histories that others began: of another mesh, or of a process that is gone."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from forgemesh.faults import Fault
from forgemesh.faults.service import ShuttingDown
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.decide import record
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.history import NO_SPANS, read_history
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.run_ids import new_run_id
from forgemesh.orchestrator.execution.engine.running import Running, new_execution, standing_of
from forgemesh.orchestrator.execution.family import begun_as, is_ending
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.ports.starts import Created, NewExecution, Request, Wanted
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.execution.trace.ports import Spans
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace
from forgemesh.orchestrator.workflow.definition import Definition

_log = logging.getLogger(__name__)


class Arrivals:
    """Reads and writes them; all of them go on by Engine.go_on."""

    def __init__(
        self,
        store: HistoryStore,
        spans: Spans,
        engine: Engine,
        executions: OpenExecutions,
        concurrency_slots: ConcurrencySlots,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._spans = spans
        self._engine = engine
        self._executions = executions
        self._concurrency_slots = concurrency_slots
        self._now = now
        self.taking_up = asyncio.Lock()
        """Held while executions that nobody runs are read, until they go on."""

    async def adopt(self, state: ExecutionState, history: Sequence[e.Event]) -> None:
        """
        Commit an execution that another mesh has begun, with its history; if it is open, it pauses.

        It is another run than the one there, which may go on, or come a second time.
        """
        state.run_id = new_run_id()
        events = list(history)
        running = Running(0, self._engine.shard, state, ExecutionTrace(state.execution_id, state.definition))
        running.heir = await self._is_heir(state)
        request = Request("", "", id_chosen=True)

        def begin() -> tuple[NewExecution, Sequence[e.Event]]:
            if self._engine.stopping:
                raise ShuttingDown("the orchestrator")
            events.extend([record(state, fact, self._now()) for fact in self._arrival(running)])
            running.standing = standing_of(state)
            new = new_execution(running, request)
            if not running.heir:  # a copy of what is here, or was: it is nobody's child
                new = replace(new, parent_run="")
            self._executions.comes(running)
            return replace(new, schedule_incarnation=""), events

        await self._store.create(Wanted(*running.name, request), begin, partial(self._adopted, running, events))
        await running.durable()

    def _arrival(self, running: Running) -> Iterator[e.Fact]:
        """What an import is held by, before anything of it goes on here."""
        if not running.open:
            return
        if self._concurrency_slots.adopt(running.state):
            yield e.ExecutionQueued()
        if running.state.own_pause is None and not is_ending(running.state):
            yield e.PauseRequested(reason="it was taken over from another mesh")

    def _adopted(self, running: Running, events: list[e.Event], written: Future[Created]) -> None:
        """An import is durable: from here on it is what a process finds that takes up after a crash."""
        self._executions.came(running)
        if not self._engine.may_enter(running, written):
            if running.open:
                self._concurrency_slots.withdraw(running.state)
            return
        created = written.result()
        running.key = created.key
        first = created.position - len(events)
        for index, event in enumerate(events, start=1):
            self._engine.show(running, event, first + index)
        if running.open:
            self._engine.go_on(running)

    async def load(
        self, row: ExecutionRow, definition: Definition, spans_from: int
    ) -> tuple[ExecutionState, ExecutionTrace]:
        """State and trace as the store has them; exports spans from `spans_from` on. Raises what that does."""
        return await read_history(self._store, row, definition, partial(self._spans.export, position=0), spans_from)

    async def find_open(self, row: ExecutionRow, definition: Definition, spans_from: int) -> Running | None:
        """
        An open execution that this process does not run yet, as the store has it; see `go_on`.

        Spans of events from `spans_from` on are exported once more. One that had ended and was opened again by an older
        release stays as its first end left it.
        """
        if self._executions.find(row.namespace, row.execution_id) is not None:
            return None
        await self._engine.settled((row.namespace, row.execution_id))
        state, trace = await self.load(row, definition, spans_from)
        if state.ended is not None:
            await self._heal(row, state)
        self._executions.suspended.discard((row.namespace, row.execution_id))
        if state.ended is not None or self._executions.find(row.namespace, row.execution_id) is not None:
            return None
        running = Running(row.key, self._engine.shard, state, trace)
        running.parent_run = running.parent_run or row.parent_run
        running.heir = await self._is_heir(state)
        return running

    async def end(
        self, row: ExecutionRow, definition: Definition, ask: Callable[[ExecutionState], Sequence[e.Fact]]
    ) -> bool:
        """
        Whether what `ask` gives has ended an execution that nobody runs: nothing else is decided in it. Raises what
        `ask` raises.
        """
        async with self.taking_up:
            running = await self.find_open(row, definition, NO_SPANS)
            if running is None:
                return False
            name = running.name
            try:
                facts = ask(running.state)
            except Fault:
                self._executions.suspended.add(name)
                raise
            self._engine.enter(running)
            self._engine.turn(running, facts)
        await running.durable()
        self._executions.set_aside.pop(name, None)
        return True

    async def _is_heir(self, state: ExecutionState) -> bool:
        return state.imported and await self._store.find_run(begun_as(state)) is None

    async def _heal(self, row: ExecutionRow, state: ExecutionState) -> None:
        """Its row says that it is open, its history that it has ended: the history is right."""
        found = await self._store.find(row.namespace, row.execution_id)
        if found is None or found.key != row.key or found.status.final:
            return  # it has ended while it was being read
        await self._store.append(row.key, self._engine.shard, [], standing_of(state))
        ended = state.status.value
        _log.warning("execution %s had ended as %s and was opened again: its end holds", row.execution_id, ended)
        self._concurrency_slots.withdraw(state)
        self._engine.on_ended.tell(state)
