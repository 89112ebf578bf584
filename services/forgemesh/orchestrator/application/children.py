"""Executions that steps of other executions wait for."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol

from forgemesh.faults import Fault, code_of, workflow
from forgemesh.orchestrator.application.running import Running
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.attempts import failed, succeeded
from forgemesh.orchestrator.domain.definition import Child
from forgemesh.orchestrator.domain.ending import open_below
from forgemesh.orchestrator.domain.failure import Failure, failure_of
from forgemesh.orchestrator.domain.payload import NULL
from forgemesh.orchestrator.domain.retry import RETRYABLE
from forgemesh.orchestrator.domain.state import ExecutionState, Status, StepState
from forgemesh.orchestrator.domain.trace import traceparent

if TYPE_CHECKING:
    from forgemesh.orchestrator.application.engine import Engine

_log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds between tries to start a child while the store refuses."""


class Nursery(Protocol):
    """Starts children; see executions.Executions."""

    async def start_child(self, parent: ExecutionState, step: StepState) -> ExecutionState:
        """The execution of the step's newest attempt, started now or before; raises what a start raises."""


class Children:
    """
    Starts a child when its attempt is durable and answers the attempt when the child has ended.

    A child's id derives from its parent's step and attempt, so that a start that is repeated after a crash finds it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.nursery: Nursery | None = None
        self._tasks: set[Task[None]] = set()

    def start(self, running: Running, path: str) -> None:
        """An attempt at a workflow step is on record, or was found open after a crash."""
        self._begin(self._start(running, path, running.state.steps[path].attempts))

    def ended(self, state: ExecutionState) -> None:
        """An execution has ended; if a step waits for it, that step goes on."""
        origin = state.started.origin if state.started is not None else None
        if origin is not None and origin.parent_id:
            parent = self._engine.running(state.namespace, origin.parent_id)
            if parent is not None and waits_for(parent.state, origin, state):
                self._answer(parent.name, origin.parent_path, origin.parent_attempt, state)

    def take_back(self, running: Running, path: str) -> None:
        """What is around the steps at and below `path` ends early: their children do what their steps say."""
        for step in open_below(running.state, path):
            if isinstance(step.step, Child):
                self.close(running, step)

    def pause(self, running: Running, request: e.PauseRequested) -> None:
        """Children pause with their parent."""
        for child in self._of(running):
            self._ask(child, lambda state: control.pause(state, request))

    def resume(self, running: Running, by: str) -> None:
        """Children go on with their parent."""
        for child in self._of(running):
            self._ask(child, lambda state: control.resume(state, by))

    def _of(self, running: Running) -> list[Running]:
        ids = [step.started.child_id for step in running.state.open_attempts.values() if step.started is not None]
        found = (self._engine.running(running.state.namespace, child_id) for child_id in ids if child_id)
        return [child for child in found if child is not None]

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, running: Running, path: str, attempt: int) -> None:
        assert self.nursery is not None
        step = running.state.steps[path]
        while self._is_open(running, path, attempt) and not self._engine.stopping:
            try:
                child = await self.nursery.start_child(running.state, step)
            except Fault as fault:
                if code_of(fault) not in RETRYABLE:
                    self._fail(running.name, path, attempt, failure_of(fault, step_path=path))
                    return
                _log.warning("child of %s at %s cannot be started yet: %s", running.name[1], path, fault)
                await asyncio.sleep(PATIENCE)
                continue
            if child.status.final:
                self._answer(running.name, path, attempt, child)
            elif not self._is_open(running, path, attempt):
                self._let_go(running, step)
            return

    def _is_open(self, running: Running, path: str, attempt: int) -> bool:
        step = running.state.open_attempts.get(path)
        return self._engine.running(*running.name) is running and step is not None and step.attempts == attempt

    def close(self, running: Running, step: StepState) -> None:
        """Nobody waits for the step's child any more; unless it is asked to end, the attempt ends without it."""
        if not self._let_go(running, step):
            failure = failure_of(workflow.Cancelled(step.path), step_path=step.path)
            self._fail(running.name, step.path, step.attempts, failure)

    def _let_go(self, running: Running, step: StepState) -> bool:
        """Whether the child was asked to end; its end answers the attempt."""
        assert isinstance(step.step, Child)
        assert step.started is not None
        child = self._engine.running(running.state.namespace, step.started.child_id)
        if step.step.on_close == "abandon" or child is None:
            return False
        by = f"execution {running.state.execution_id}"
        reason = "the execution that waited for it has stopped"
        ask = control.cancel if step.step.on_close == "cancel" else control.terminate
        self._ask(child, lambda state: ask(state, by, reason))
        return True

    def _ask(self, child: Running, ask: Callable[[ExecutionState], Sequence[e.Fact]]) -> None:
        """Do to a child what is legal; what is not is not needed either."""
        try:
            facts = ask(child.state)
        except Fault:
            return
        if facts:
            self._engine.turn(child, facts)

    def _answer(self, parent: tuple[str, str], path: str, attempt: int, child: ExecutionState) -> None:
        running = self._engine.running(*parent)
        if running is None:
            return
        if child.status is Status.SUCCEEDED:
            fact = succeeded(running.state, path, attempt, child.output or NULL, None)
            if fact is not None:
                self._engine.turn(running, (fact,))
            return
        cause = child.failure.message if child.failure is not None else child.status.value
        fault = workflow.ChildFailed(path, child.execution_id, child.status.value, cause)
        failure = failure_of(fault, retryable=True, step_path=path)
        self._fail(parent, path, attempt, failure.with_causes((child.failure,) if child.failure is not None else ()))

    def _fail(self, parent: tuple[str, str], path: str, attempt: int, failure: Failure) -> None:
        running = self._engine.running(*parent)
        if running is None:
            return
        step = running.state.open_attempts.get(path)
        if step is not None and running.state.is_stopping(step.scope):
            failure = failure_of(workflow.Cancelled(path), step_path=path)
        fact = failed(running.state, path, attempt, failure, None, self._engine.clock(), self._engine.draw())
        if fact is not None:
            self._engine.turn(running, (fact,))


def waits_for(parent: ExecutionState, origin: e.Origin, child: ExecutionState) -> bool:
    """
    Whether the parent that a child names is the one that started it, and it is no copy of the child that did.

    Histories of older releases do not name the parent's run; then the ids have to do.
    """
    step = parent.open_attempts.get(origin.parent_path)
    return (
        origin.parent_run in ("", parent.run_id)
        and step is not None
        and step.started is not None
        and step.started.child_id == child.execution_id
        and not child.imported
    )


def link_to(parent: ExecutionState, step: StepState) -> str:
    """The span of the attempt that waits for a child, "<trace>-<span>": the child's trace links to it."""
    assert parent.started is not None
    _, trace, span, _ = traceparent(parent.started, parent.execution_id, step.path, step.attempts).split("-")
    return f"{trace}-{span}"
