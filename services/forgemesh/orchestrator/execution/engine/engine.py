"""
Drives open executions: decide, commit, only then act; and take them up again after a crash.

Something happens (an answer, a command, a timer, the end of a child), and whoever knows it makes a fact of it and
calls `Engine.turn`. A turn folds the fact into the state, decides what follows until nothing does (`decide.py`), and
queues all events of that as one write. What they ask of the world are values (`effects.py`): orders to children count
as soon as the turn is queued, everything else once it is durable, when `Executor` performs it: calls go to the
dispatcher (`calls.py`), children are started (`children.py`), places given on (`concurrency_slots.py`). What comes
back from there is the next fact. So nothing happens that is not on record, and a crash in between is a turn that was
decided and not acted upon: `recovery.py` reads the histories and lets them go on by the same `turn`. An execution that
a bug or the store interrupts takes that way, too (`suspension.py`). `sweep.py` looks whether anything stands still.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from forgemesh.chassis.containment import contained
from forgemesh.chassis.subscribers import Subscribers
from forgemesh.faults import Fault
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.decide import NOTHING, advance, record, recovered
from forgemesh.orchestrator.execution.effects import Effect, child_orders_of, effects_of, unsent_in
from forgemesh.orchestrator.execution.engine.executor import Executor
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running, claims_of, new_execution, standing_of
from forgemesh.orchestrator.execution.engine.suspension import Suspension
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.engine.timers import Timers
from forgemesh.orchestrator.execution.engine.turn_marker import TurnMarker
from forgemesh.orchestrator.execution.explain import Explanation
from forgemesh.orchestrator.execution.fold import fold
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.starts import Created, NewExecution, Request, Wanted
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.execution.trace.ports import Spans
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace
from forgemesh.orchestrator.values.shard import Shard
from forgemesh.orchestrator.workflow.definition import Definition

ROUNDS, LAST_WRITE = 10, 5.0
"""So often writes may follow from writes while the process stops, and the seconds that each of them may take."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that runs executions, and the shard of them that it owns."""

    orchestrator_id: str
    shard: Shard


class Engine:
    """
    Every turn of an execution goes the same way: fold what happened, decide what follows, commit both together,
    and act on it once that is durable.

    `executor` makes what performs effects, once, for this engine. If a commit fails, the execution is dropped from
    memory and taken up again from the store, as after a crash. `on_ended` is told each end that is durable.
    """

    def __init__(
        self,
        store: HistoryStore,
        spans: Spans,
        executions: OpenExecutions,
        executor: Callable[[Engine], Executor],
        time_and_chance: TimeAndChance,
        owner: Owner,
        marker: TurnMarker,
    ) -> None:
        self._store = store
        self._spans = spans
        self._executions = executions
        self._now, self._draw = time_and_chance.now, time_and_chance.draw
        self._timers = Timers(time_and_chance.now, time_and_chance.wall_ahead, self.wake)
        self._marker = marker
        self.owner = owner
        self._executor = executor(self)
        self._suspension = Suspension(executions, time_and_chance.now, self._executor.unsent, self.drop)
        self.on_suspended, self.on_trouble = self._suspension.on_suspended, self._suspension.on_trouble
        self.on_ended: Subscribers[[ExecutionState]] = Subscribers("the end of an execution")
        self.stopping = self._gone = False
        self.started_at = time_and_chance.now()

    @property
    def shard(self) -> Shard:
        """What this process owns."""
        return self.owner.shard

    @property
    def trouble(self) -> str:
        """Why the store takes no writes, if it takes none."""
        return self._suspension.trouble

    @property
    def bugs(self) -> int:
        """How often a bug has interrupted an execution."""
        return self._suspension.bugs

    @property
    def count(self) -> int:
        """How many executions are open and in memory."""
        return self._executions.count

    def all_running(self) -> list[Running]:
        """Every open execution in memory."""
        return self._executions.all()

    def suspended_count(self) -> int:
        """How many open executions nobody runs at the moment."""
        return len(self._executions.suspended)

    def set_aside(self, namespace: str, execution_id: str) -> str:
        """Why nobody takes the execution up any more; empty if somebody does."""
        return self._executions.set_aside.get((namespace, execution_id), "")

    def explain(self, running: Running) -> Explanation:
        """Why it does not move."""
        return self._executor.explain(running, self._now())

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
        running = Running(0, self.owner.shard, state, ExecutionTrace(execution_id, definition))
        events: list[e.Event] = []

        def begin() -> tuple[NewExecution, Sequence[e.Event]]:
            if self.stopping:
                raise ShuttingDown("the orchestrator")
            self._marker.enter(0)
            facts, now = first(), self._now()
            decided = [record(state, fact, now) for fact in facts]
            events.extend(decided + advance(state, now, self._timers.ahead, self._marker.is_long))
            running.begun()
            self._executions.comes(running)
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
        self._executions.came(running)
        with contained(f"the start of execution {running.name[1]}"):
            settled(written)
        self._executor.start_written(running)
        if not self.may_enter(running, written):
            return
        created = written.result()
        running.key = created.key
        self.enter(running)
        effects = effects_of(events)
        try:
            self._executor.settle_in(running, fresh=True)
            self._act(running, events, effects, created.position)
            self._timers.set(running)
            self._executor.arrived(running)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._suspension.broke(running, error, unsent_in(effects[running.acted :]))

    def may_enter(self, running: Running, written: Future[Created]) -> bool:
        """Whether it was written; what is written while this process goes is taken up by the next one."""
        failed = written.cancelled() or written.exception() is not None
        return not failed and not self._gone and self._executions.find(*running.name) is None

    def enter(self, running: Running) -> None:
        """It is in memory from now on."""
        self._executions.enter(running)
        self._executor.joined(running)

    def _leave(self, running: Running) -> None:
        self._executions.leave(running)
        self._executor.left(running)
        self._timers.off(running)

    async def command(
        self, running: Running, ask: Callable[[ExecutionState], Sequence[e.Fact]], answer: Recorded | None = None
    ) -> list[e.Event]:
        """
        Fold the facts that `ask` gives for the state as it is, with what follows, and return once they are durable, and
        with them the `answer` that somebody gets.

        Raises what `ask` raises, once that for which it does is durable, and StoreUnavailable.
        """
        if not self._executions.has(running):
            raise ExecutionSuspended(running.state.execution_id)
        try:
            facts = ask(running.state)
        except Fault:
            await running.durable()
            raise
        events = self.turn(running, facts, answer) if facts else []
        if answer is not None and not facts:
            await asyncio.shield(self._store.append_answered(running.key, running.shard, [], None, answer))
        await running.durable()
        return events

    def expect(self, arriving: Iterable[Running]) -> None:
        """Executions that were found are about to go on: all of them are known before the first one does."""
        for running in arriving:
            if self._executions.expect(running):
                self._executor.joined(running)

    def go_on(self, running: Running) -> None:
        """
        Take an open execution up that nobody has run since a crash, or that comes from another mesh: the one door by
        which histories that others began come in. Its open calls count as lost.
        """
        if not self._executions.arrived(running):
            return
        self.enter(running)
        try:
            self._go_on(running)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._suspension.broke(running, error)

    def _go_on(self, running: Running) -> None:
        state, epoch, unsent = running.state, running.shard.epoch, self._suspension.unsent(running)
        events = recovered(state, self.owner.orchestrator_id, epoch, self._now(), self._draw(), unsent)
        reopened = tuple(state.open_attempts)
        self._commit(running, events)
        self._executor.settle_in(running, fresh=False)  # before anything new begins in it
        following = self._decide(running)
        if following:
            self._commit(running, following)
        self._executor.taken_up(running, reopened)

    async def stop(self, grace: float) -> None:
        """
        Begin nothing more, let calls that are under way end for `grace` seconds, and drop every execution.

        The next process takes them up from the store.
        """
        self.stopping = True
        await self._executor.stop(grace)
        await self._settled()
        self._gone = True
        for running in self._executions.all():
            self.drop(running)

    async def _settled(self) -> None:
        """What is known of the executions is durable, or cannot be written."""
        for _ in range(ROUNDS):
            await asyncio.sleep(0)  # what is durable has its effects, which may write
            writes = [running.written for running in self._executions.all() if running.written is not None]
            pending: list[Future[Any]] = [*self._executions.coming(), *(write for write in writes if not write.done())]
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
                self._suspension.forsake(running)
            raise
        return events

    def _decide(self, running: Running, facts: Iterable[e.Fact] = ()) -> list[e.Event]:
        now, state = self._now(), running.state
        self._marker.enter(running.key)
        try:
            events = [record(state, fact, now) for fact in facts]
            return events + advance(state, now, self._timers.ahead, self._marker.is_long)
        finally:
            self._marker.leave(running.key)

    def _commit(self, running: Running, events: list[e.Event], answer: Recorded | None = None) -> None:
        state, effects = running.state, effects_of(events)
        before, running.standing = running.standing, standing_of(state)
        changed = running.standing if running.standing != before else None
        append = self._store.append if answer is None else partial(self._store.append_answered, answer=answer)
        written = running.written = append(running.key, running.shard, events, changed)
        written.add_done_callback(partial(self._committed, running, events, effects))
        self._timers.set(running)
        if state.definition.has_children and (orders := child_orders_of(events)):
            self._executor.queued(running, orders)

    def _committed(self, running: Running, events: list[e.Event], effects: list[Effect], written: Future[int]) -> None:
        error = None if written.cancelled() else written.exception()
        failed = written.cancelled() or error is not None
        if not self._executions.has(running):
            if not failed:
                self._suspension.skipped(running, effects)
            return
        if failed:
            self._suspension.unwritten(running, error)
            return
        if self._suspension.trouble:
            self._suspension.write_went_well()
        if running.written is written:
            running.written = None
        try:
            self._act(running, events, effects, written.result())
        except Exception as bug:  # noqa: BLE001 - ends nothing but this execution's turn
            self._suspension.broke(running, bug, unsent_in(effects[running.acted :]))

    def _act(self, running: Running, events: list[e.Event], effects: list[Effect], position: int) -> None:
        """Events are durable: show them, and do what they ask for; `running.acted` counts the effects that are done."""
        running.acted = 0
        for at, event in enumerate(events, start=position - len(events) + 1):
            running.show(event, self._spans, at)
        for effect in effects:
            self._executor.perform(running, effect)
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
        self._executor.ended(running)
        self.on_ended.tell(running.state)

    def wake(self, running: Running) -> None:
        """Something may be due."""
        running.timer, running.timer_at = None, 0
        if not self._executions.has(running):
            return
        try:
            events = self._decide(running)
            if events:
                self._commit(running, events)
            else:
                self._timers.set(running)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._suspension.broke(running, error)

    def drop(self, running: Running) -> None:
        """Forget it; it is taken up from the store."""
        self._leave(running)
        running.left.set()
        running.tell_watchers()
        self._executor.dropped(running)

    def forsake(self, running: Running, *, haste: bool = True) -> None:
        """Drop it, and have it taken up from the store: in `haste` at once, or with the next sweep."""
        self._suspension.forsake(running, haste=haste)

    def broke(self, running: Running, error: Exception, unsent: Mapping[str, int] = NOTHING) -> None:
        """See turns.Turns."""
        self._suspension.broke(running, error, unsent)

    async def settled(self, name: tuple[str, str]) -> None:
        """Return once the history in the store of an execution that was dropped is all that there will be of it."""
        await self._suspension.settled(name)

    def write_went_well(self) -> None:
        """The store takes writes; if it did not before, that is over."""
        self._suspension.write_went_well()

    def look_at_the_clock(self) -> bool:
        """Whether the wall clock was put, or the machine slept, since the last look; every timer is set anew then."""
        return self._timers.look(self._executions.all())
