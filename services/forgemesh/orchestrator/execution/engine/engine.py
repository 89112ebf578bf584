"""Drives open executions: decide, commit, only then act; and take them up again after a crash."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from forgemesh.chassis.containment import contained
from forgemesh.faults import Fault
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import Hosts
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.decide import advance, record, recovered
from forgemesh.orchestrator.execution.effects import Effect, child_orders_of, effects_of, unsent_in
from forgemesh.orchestrator.execution.engine.arrivals import Arrivals
from forgemesh.orchestrator.execution.engine.calls import Calls
from forgemesh.orchestrator.execution.engine.children import Children
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots
from forgemesh.orchestrator.execution.engine.executor import Executor
from forgemesh.orchestrator.execution.engine.history import read_history
from forgemesh.orchestrator.execution.engine.ports import Created, ExecutionRow, NewExecution, Request, Store, Wanted
from forgemesh.orchestrator.execution.engine.results import Results
from forgemesh.orchestrator.execution.engine.running import Running, claims_of, new_execution, standing_of
from forgemesh.orchestrator.execution.engine.suspension import Suspension
from forgemesh.orchestrator.execution.engine.timers import Timers
from forgemesh.orchestrator.execution.engine.turns import Turns
from forgemesh.orchestrator.execution.family import FamilyLimits
from forgemesh.orchestrator.execution.fold import fold
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.execution.trace.ports import Spans
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace
from forgemesh.orchestrator.workflow.definition import Definition

_log = logging.getLogger(__name__)

ROUNDS, LAST_WRITE = 10, 5.0
"""So often writes may follow from writes while the process stops, and the seconds that each of them may take."""


class Engine:
    """
    Every turn of an execution goes the same way: fold what happened, decide what follows, commit both together,
    and act on it once that is durable.

    `clock` gives Unix nanoseconds that run evenly, `wall_ahead` by how many the wall clock is ahead of it, `draw`
    random numbers in [0, 1). If a commit fails, the execution is dropped from memory and taken up again from the store,
    as after a crash.
    """

    def __init__(
        self,
        store: Store,
        hosts: Hosts,
        recorder: OutcomeRecorder,
        providers: Providers,
        spans: Spans,
        *,
        clock: Callable[[], int],
        draw: Callable[[], float],
        orchestrator_id: str,
        epoch: int,
        max_in_flight: int = 0,
        wall_ahead: Callable[[], int] = lambda: 0,
        family: FamilyLimits | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._store = store
        self._spans = spans
        self.clock = clock
        self.timers = Timers(clock, wall_ahead, self.wake)
        self.turns = turns or Turns()
        self.draw = draw
        self.orchestrator_id = orchestrator_id
        self.epoch = epoch
        results = Results(store, hosts, providers, clock)
        calls = Calls(self, hosts, recorder, providers, results, max_in_flight=max_in_flight)
        self.executor = Executor(calls, Children(self, family or FamilyLimits()), ConcurrencySlots(self))
        self.arrivals = Arrivals(self, store)
        self._running: dict[tuple[str, str], Running] = {}
        self._arriving: dict[tuple[str, str], Running] = {}
        self.on_suspended: Callable[[], None] = lambda: None
        self.on_trouble: Callable[[], None] = lambda: None
        self.on_wanted: Callable[[], None] = lambda: None
        self.on_ended: Callable[[ExecutionState], None] = lambda state: None
        self.trouble = ""
        self._coming: dict[tuple[str, str], Future[None]] = {}
        """Of executions whose first write is under way."""
        self.suspended: set[tuple[str, str]] = set()
        self.suspension = Suspension(self)
        self.stopping = self._gone = False
        self.started_at = clock()

    def running(self, namespace: str, execution_id: str, run_id: str = "") -> Running | None:
        """The execution, if it is open and in memory; with a run, none that has merely the same id."""
        found = self._running.get((namespace, execution_id))
        return found if found is None or run_id in ("", found.state.run_id) else None

    def known(self, namespace: str, execution_id: str) -> Running | None:
        """The same, or one that is about to be taken up."""
        name = (namespace, execution_id)
        return self._running.get(name) or self._arriving.get(name)

    def is_coming(self, namespace: str, execution_id: str) -> bool:
        """Whether the first write of an execution of that id is under way."""
        return (namespace, execution_id) in self._coming

    @property
    def count(self) -> int:
        """How many executions are open and in memory."""
        return len(self._running)

    def all_running(self) -> Iterator[Running]:
        """Every open execution in memory."""
        return iter(list(self._running.values()))

    async def start(
        self,
        definition: Definition,
        execution_id: str,
        first: Callable[[], Sequence[e.Fact]],
        request: Request,
        settled: Callable[[Future[Created]], None] = lambda written: None,
    ) -> tuple[Created, ExecutionState | None]:
        """
        Commit a new execution with what follows at once, then let it run; no state if `request` started one before.

        `first` gives its first facts, the very first of which is its start, in the moment in which they go into the
        queue of writes; if it raises, nothing is started. `settled` is told what became of the write, also if the
        caller has gone away meanwhile.
        """
        state = ExecutionState(definition.namespace, execution_id, definition)
        running = Running(0, state, ExecutionTrace(execution_id, definition))
        events: list[e.Event] = []

        def begin() -> tuple[NewExecution, Sequence[e.Event]]:
            if self.stopping:
                raise ShuttingDown("the orchestrator")
            self.turns.enter(0)
            facts, now = first(), self.clock()
            decided = [record(state, fact, now) for fact in facts]
            events.extend(decided + advance(state, now, self.timers.ahead, self.turns.is_long))
            running.begun()
            self.comes(running)
            return new_execution(running, request, claims_of(state)), events

        written = partial(self._created, running, events, settled)
        created = await self._store.create(Wanted(state.namespace, execution_id, request), begin, written)
        if not created.created:
            return created, None
        if state.sequence != len(events):  # it has gone on; what is shown is durable
            state = fold(state.namespace, execution_id, definition, events)
        return created, state

    def _created(
        self,
        running: Running,
        events: list[e.Event],
        settled: Callable[[Future[Created]], None],
        written: Future[Created],
    ) -> None:
        """Runs also when whoever asked for the execution has gone away."""
        self.came(running)
        with contained(f"the start of execution {running.name[1]}"):
            settled(written)
        self.executor.children.families.written(*running.name)
        if not self.may_enter(running, written):
            return
        created = written.result()
        running.key = created.key
        self.enter(running)
        effects = effects_of(events)
        try:
            self.executor.children.settle_in(running, fresh=True)
            self._act(running, events, effects, created.position)
            self.timers.set(running)
            if running.state.queued:
                self.executor.concurrency_slots.arrived(running)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self.suspension.broke(running, error, unsent_in(effects[running.acted :]))

    def comes(self, running: Running) -> None:
        """The first write of an execution goes into the queue."""
        self._coming[running.name] = asyncio.get_running_loop().create_future()

    def came(self, running: Running) -> None:
        """It was written, or was not."""
        coming = self._coming.pop(running.name, None)
        if coming is not None:
            coming.set_result(None)

    def may_enter(self, running: Running, written: Future[Created]) -> bool:
        """Whether it was written; what is written while this process goes is taken up by the next one."""
        failed = written.cancelled() or written.exception() is not None
        return not failed and not self._gone and running.name not in self._running

    def enter(self, running: Running) -> None:
        """It is in memory from now on."""
        self._running[running.name] = running
        self.executor.children.families.joined(running)

    def _leave(self, running: Running) -> None:
        del self._running[running.name]
        self.executor.children.families.left(running)
        self.timers.off(running)

    async def command(
        self, running: Running, ask: Callable[[ExecutionState], Sequence[e.Fact]], answer: Recorded | None = None
    ) -> list[e.Event]:
        """
        Fold the facts that `ask` gives for the state as it is, with what follows, and return once they are durable, and
        with them the `answer` that somebody gets.

        Raises what `ask` raises, once that for which it does is durable, and StoreUnavailable.
        """
        if self._running.get(running.name) is not running:
            raise ExecutionSuspended(running.state.execution_id)
        try:
            facts = ask(running.state)
        except Fault:
            await running.durable()
            raise
        events = self.turn(running, facts, answer) if facts else []
        if answer is not None and not facts:
            await asyncio.shield(self._store.append_answered(running.key, [], None, answer))
        await running.durable()
        return events

    def expect(self, arriving: Iterable[Running]) -> None:
        """Executions that were found are about to go on: all of them are known before the first one does."""
        for running in arriving:
            if running.name not in self._running:
                self._arriving[running.name] = running
                self.executor.children.families.joined(running)

    def go_on(self, running: Running) -> None:
        """
        Take an open execution up that nobody has run since a crash, or that comes from another mesh: the one door by
        which histories that others began come in. Its open calls count as lost.
        """
        self._arriving.pop(running.name, None)
        if running.name in self._running:
            return
        self.enter(running)
        try:
            self._go_on(running)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self.suspension.broke(running, error)

    def _go_on(self, running: Running) -> None:
        state, now, unsent = running.state, self.clock(), self.suspension.unsent(running)
        events = recovered(state, self.orchestrator_id, self.epoch, now, self.draw(), unsent)
        reopened = tuple(state.open_attempts)
        self._commit(running, events)
        self.executor.children.settle_in(running, fresh=False)  # before anything new begins in it
        following = self._decide(running)
        if following:
            self._commit(running, following)
        self.executor.taken_up(running, reopened)

    async def load(
        self, row: ExecutionRow, definition: Definition, spans_from: int = 1 << 62
    ) -> tuple[ExecutionState, ExecutionTrace]:
        """State and trace as the store has them; exports spans from `spans_from` on. Raises what that does."""
        return await read_history(self._store, row, definition, partial(self._spans.export, position=0), spans_from)

    async def stop(self, grace: float) -> None:
        """
        Begin nothing more, let calls that are under way end for `grace` seconds, and drop every execution.

        The next process takes them up from the store.
        """
        self.stopping = True
        await self.executor.stop(grace)
        await self._settled()
        self._gone = True
        for running in list(self._running.values()):
            self.drop(running)

    async def _settled(self) -> None:
        """What is known of the executions is durable, or cannot be written."""
        for _ in range(ROUNDS):
            await asyncio.sleep(0)  # what is durable has its effects, which may write
            writes = [running.written for running in self._running.values() if running.written is not None]
            pending: list[Future[Any]] = [*self._coming.values(), *(write for write in writes if not write.done())]
            if not pending:
                return
            await asyncio.wait(pending, timeout=LAST_WRITE)

    def turn(self, running: Running, facts: Iterable[e.Fact], answer: Recorded | None = None) -> list[e.Event]:
        """
        Fold what happened, decide what follows, and queue both as one write; the events.

        Raises AfterEnd for an execution that has ended, also if that is not durable yet: whoever has a fact looks at
        `running.open` or at what of the state the fact is about.
        """
        still_open, before = list(running.state.open_attempts.values()), running.state.sequence
        try:
            events = self._decide(running, facts)
            if running.state.ended is Status.TERMINATED:
                running.cut = still_open
            self._commit(running, events, answer)
        except Exception:
            if running.state.sequence != before:  # what memory knows is void
                self.suspension.forsake(running)
            raise
        return events

    def _decide(self, running: Running, facts: Iterable[e.Fact] = ()) -> list[e.Event]:
        now, state = self.clock(), running.state
        self.turns.enter(running.key)
        try:
            events = [record(state, fact, now) for fact in facts]
            return events + advance(state, now, self.timers.ahead, self.turns.is_long)
        finally:
            self.turns.leave(running.key)

    def _commit(self, running: Running, events: list[e.Event], answer: Recorded | None = None) -> None:
        state = running.state
        before, running.standing = running.standing, standing_of(state)
        changed = running.standing if running.standing != before else None
        append = self._store.append if answer is None else partial(self._store.append_answered, answer=answer)
        written = running.written = append(running.key, events, changed)
        written.add_done_callback(partial(self._committed, running, events, effects_of(events)))
        self.timers.set(running)
        if state.definition.has_children and (orders := child_orders_of(events)):
            self.executor.queued(running, orders)

    def _committed(self, running: Running, events: list[e.Event], effects: list[Effect], written: Future[int]) -> None:
        error = None if written.cancelled() else written.exception()
        failed = written.cancelled() or error is not None
        if self._running.get(running.name) is not running:
            if not failed:
                self.suspension.skipped(running, effects)
            return
        if failed:
            self.suspension.unwritten(running, error)
            return
        self.write_went_well()
        if running.written is written:
            running.written = None
        try:
            self._act(running, events, effects, written.result())
        except Exception as bug:  # noqa: BLE001 - ends nothing but this execution's turn
            self.suspension.broke(running, bug, unsent_in(effects[running.acted :]))

    def write_went_well(self) -> None:
        """The store takes writes; if it did not before, that is over."""
        if self.trouble:
            self.trouble = ""
            self.on_trouble()

    def _act(self, running: Running, events: list[e.Event], effects: list[Effect], position: int) -> None:
        """Events are durable: show them, and do what they ask for; `running.acted` counts the effects that are done."""
        running.acted = 0
        for at, event in enumerate(events, start=position - len(events) + 1):
            self.show(running, event, at)
        for effect in effects:
            self.executor.perform(running, effect)
            running.acted += 1
        if running.state.status.final and events[-1].sequence == running.state.sequence:
            self._end(running)
        running.tell_watchers()

    def show(self, running: Running, event: e.Event, position: int) -> None:
        """The spans that end with a durable event."""
        running.show(event, self._spans, position)

    def _end(self, running: Running) -> None:
        self._leave(running)
        running.ended = True
        running.left.set()
        self.executor.ended(running)
        with contained(f"the end of execution {running.name[1]}"):
            self.on_ended(running.state)

    def wake(self, running: Running) -> None:
        """Something may be due."""
        running.timer, running.timer_at = None, 0
        if self._running.get(running.name) is not running:
            return
        try:
            events = self._decide(running)
            if events:
                self._commit(running, events)
            else:
                self.timers.set(running)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self.suspension.broke(running, error)

    def drop(self, running: Running) -> None:
        """Forget it; it is taken up from the store."""
        self._leave(running)
        running.left.set()
        running.tell_watchers()
        self.executor.dropped(running)
