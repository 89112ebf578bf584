"""Drives open executions: decide, commit, only then act; and take them up again after a crash."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.application.dispatcher import Dispatcher, Order
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.decide import advance, failed, next_wake, open_below, record, recovered, succeeded
from forgemesh.orchestrator.domain.definition import Call, Definition
from forgemesh.orchestrator.domain.fold import apply, fold
from forgemesh.orchestrator.domain.state import ExecutionState, Status
from forgemesh.orchestrator.domain.trace import ExecutionTrace, traceparent
from forgemesh.orchestrator.ports import Answer, Created, ExecutionRow, Hosts, NewExecution, Request, Spans, Store
from forgemesh.routing.pick import NoPick

_log = logging.getLogger(__name__)

PAGE = 1_000


@dataclass(slots=True, eq=False)
class Running:
    """
    An open execution in memory.

    `left` is set once it has `ended` or was dropped.
    """

    key: int
    state: ExecutionState
    trace: ExecutionTrace
    left: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    timer: asyncio.TimerHandle | None = None
    timer_at: int = 0
    _change: asyncio.Event | None = None

    @property
    def name(self) -> tuple[str, str]:
        return self.state.namespace, self.state.execution_id

    def change(self) -> asyncio.Event:
        """Is set when something of it becomes durable from now on, or when it has left."""
        if self._change is None:
            self._change = asyncio.Event()
        return self._change

    def tell_watchers(self) -> None:
        """Something became durable, or it has left."""
        if self._change is not None:
            self._change.set()
            self._change = None


class Engine:
    """
    Every turn of an execution goes the same way: fold what happened, decide what follows, commit both together,
    and act on it once that is durable.

    `clock` gives Unix nanoseconds, `draw` random numbers in [0, 1). If a commit fails, the execution is dropped from
    memory and taken up again from the store, as after a crash.
    """

    def __init__(
        self,
        store: Store,
        hosts: Hosts,
        spans: Spans,
        *,
        clock: Callable[[], int],
        draw: Callable[[], float],
        orchestrator_id: str,
        epoch: int,
    ) -> None:
        self._store = store
        self._spans = spans
        self._clock = clock
        self._draw = draw
        self._orchestrator_id = orchestrator_id
        self._epoch = epoch
        self._dispatcher = Dispatcher(hosts, clock, self)
        self._running: dict[tuple[str, str], Running] = {}
        self.on_suspended: Callable[[], None] = lambda: None
        self.stopping = False

    def running(self, namespace: str, execution_id: str) -> Running | None:
        """The execution, if it is open and in memory."""
        return self._running.get((namespace, execution_id))

    async def start(
        self, definition: Definition, execution_id: str, started: e.ExecutionStarted, request: Request
    ) -> tuple[Created, ExecutionState]:
        """Commit a new execution with its first attempts, then let it run."""
        now = self._clock()
        state = ExecutionState(definition.namespace, execution_id, definition)
        events = [record(state, started, now), *advance(state, now)]
        running = Running(0, state, ExecutionTrace(execution_id, definition))
        settled = partial(self._created, running, events)
        created = await self._store.create(_new_execution(state, request), events, settled)
        if state.sequence != len(events):  # it has gone on; what is shown is durable
            state = fold(state.namespace, execution_id, definition, events)
        return created, state

    def _created(self, running: Running, events: list[e.Event], written: Future[Created]) -> None:
        """Runs also when whoever asked for the execution has gone away."""
        if written.cancelled() or written.exception() is not None or running.name in self._running:
            return
        created = written.result()
        running.key = created.key
        self._running[running.name] = running
        self._act(running, events, created.position)
        self._set_timer(running)

    async def take_up(self, row: ExecutionRow, definition: Definition, spans_from: int) -> None:
        """
        Go on with an open execution that this process does not run yet; its open attempts count as lost.

        Spans of events from `spans_from` on are exported once more.
        """
        if (row.namespace, row.execution_id) in self._running:
            return
        state, trace = await self.load(row, definition, spans_from)
        if state.status is not Status.RUNNING or (row.namespace, row.execution_id) in self._running:
            return
        running = Running(row.key, state, trace)
        self._running[running.name] = running
        now = self._clock()
        events = recovered(state, self._orchestrator_id, self._epoch, now, self._draw())
        self._commit(running, [*events, *advance(state, now)])

    async def load(
        self, row: ExecutionRow, definition: Definition, spans_from: int = 1 << 62
    ) -> tuple[ExecutionState, ExecutionTrace]:
        """State and trace as the store has them; exports spans from `spans_from` on. Raises DataCorrupted."""
        state = ExecutionState(row.namespace, row.execution_id, definition)
        trace = ExecutionTrace(row.execution_id, definition)
        while events := await self._store.events(row.key, state.sequence + 1, PAGE):
            for event in events:
                try:
                    apply(state, event)
                    finished = trace.project(event)
                except (ValueError, KeyError) as error:
                    raise DataCorrupted(f"event {row.key}/{event.sequence}", str(error)) from error
                if event.sequence >= spans_from:
                    self._spans.export(trace, finished, 0)
        return state, trace

    async def stop(self, grace: float) -> None:
        """
        Begin nothing more, let calls that are under way end for `grace` seconds, and drop every execution.

        The next process takes them up from the store.
        """
        self.stopping = True
        await self._dispatcher.stop(grace)
        for running in list(self._running.values()):
            self._drop(running)

    def answered(self, order: Order, answer: Answer) -> None:
        """See dispatcher.Listener."""
        running = self._running.get(order.key[:2])
        if running is None:
            return
        now = self._clock()
        if answer.failure is None and answer.output is not None and order.dispatch is not None:
            fact = succeeded(running.state, order.path, order.attempt, answer.output, _where(order.dispatch, answer))
        else:
            assert answer.failure is not None
            where = _where(order.dispatch, answer) if order.dispatch is not None else None
            fact = failed(running.state, order.path, order.attempt, answer.failure, where, now, self._draw())
        if fact is not None:
            self._turn(running, (fact,))

    def blocked(self, order: Order, lack: NoPick) -> None:
        """See dispatcher.Listener."""
        running = self._running.get(order.key[:2])
        if running is not None:
            self._turn(running, (e.StepBlocked(order.path, order.attempt, lack.reason.value, lack.message),))

    def unblocked(self, order: Order) -> None:
        """See dispatcher.Listener."""
        running = self._running.get(order.key[:2])
        if running is not None:
            self._turn(running, (e.StepUnblocked(order.path, order.attempt),))

    def _turn(self, running: Running, facts: Iterable[e.Fact]) -> None:
        now = self._clock()
        events = [record(running.state, fact, now) for fact in facts]
        events += advance(running.state, now)
        self._commit(running, events)

    def _commit(self, running: Running, events: list[e.Event]) -> None:
        state = running.state
        ended = None if state.status is Status.RUNNING else (state.status, state.ended_at)
        written = self._store.append(running.key, events, ended)
        written.add_done_callback(partial(self._committed, running, events))
        self._set_timer(running)

    def _committed(self, running: Running, events: list[e.Event], written: Future[int]) -> None:
        if self._running.get(running.name) is not running:
            return
        error = None if written.cancelled() else written.exception()
        if error is not None or written.cancelled():
            self._suspend(running, error)
            return
        self._act(running, events, written.result())

    def _act(self, running: Running, events: list[e.Event], position: int) -> None:
        """What durable events ask for."""
        for index, event in enumerate(events, start=1):
            finished = running.trace.project(event)
            if finished:
                self._spans.export(running.trace, finished, position - len(events) + index)
            fact = event.fact
            if isinstance(fact, e.AttemptStarted):
                self._send(running, fact)
            elif isinstance(fact, e.StopRequested):
                for step in open_below(running.state, fact.path):
                    self._dispatcher.cancel((*running.name, step.path))
        if isinstance(events[-1].fact, e.ExecutionSucceeded | e.ExecutionFailed):
            del self._running[running.name]
            running.ended = True
            running.left.set()
        running.tell_watchers()

    def _send(self, running: Running, fact: e.AttemptStarted) -> None:
        state = running.state
        step, started = state.steps[fact.path], state.started
        assert isinstance(step.step, Call)
        assert step.input is not None
        assert started is not None
        order = Order(
            namespace=state.namespace,
            execution_id=state.execution_id,
            path=fact.path,
            attempt=fact.attempt,
            call=step.step,
            input=step.input,
            traceparent=traceparent(started, state.execution_id, fact.path, fact.attempt),
            deadline=started.deadline,
            tried=frozenset((step.dispatch.instance_id,)) if step.dispatch is not None else frozenset(),
        )
        self._dispatcher.send(order)

    def _set_timer(self, running: Running) -> None:
        at = next_wake(running.state) or 0
        if at == running.timer_at:
            return
        if running.timer is not None:
            running.timer.cancel()
        running.timer, running.timer_at = None, at
        if at:
            wait = max(0, at - self._clock()) / 1e9
            running.timer = asyncio.get_running_loop().call_later(wait, self._wake, running)

    def _wake(self, running: Running) -> None:
        running.timer, running.timer_at = None, 0
        if self._running.get(running.name) is not running:
            return
        events = advance(running.state, self._clock())
        if events:
            self._commit(running, events)
        else:
            self._set_timer(running)

    def _suspend(self, running: Running, error: BaseException | None) -> None:
        """What memory knows beyond the store is void: forget it, and have the execution taken up from the store."""
        _log.error("execution %s is suspended: %s", running.name[1], error)
        self._drop(running)
        self.on_suspended()

    def _drop(self, running: Running) -> None:
        del self._running[running.name]
        if running.timer is not None:
            running.timer.cancel()
        for path in running.state.open_attempts:
            self._dispatcher.forget((*running.name, path))
        running.left.set()
        running.tell_watchers()


def _new_execution(state: ExecutionState, request: Request) -> NewExecution:
    started = state.started
    assert started is not None
    return NewExecution(
        namespace=state.namespace,
        execution_id=state.execution_id,
        workflow=started.workflow,
        workflow_version=started.workflow_version,
        started_at=state.started_at,
        trace_id=started.trace_id.hex(),
        request=request,
        ended=None if state.status is Status.RUNNING else (state.status, state.ended_at),
    )


def _where(dispatch: e.Dispatch, answer: Answer) -> e.Dispatch:
    if answer.session and answer.accepted:
        return dispatch
    return msgspec.structs.replace(dispatch, session=answer.session, accepted=answer.accepted)
