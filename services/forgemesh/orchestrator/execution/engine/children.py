"""Executions that steps of other executions wait for."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, TypeAlias, assert_never

from forgemesh.chassis.containment import contained
from forgemesh.chassis.tasks import watched
from forgemesh.faults import Fault, code_of, workflow
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.attempts import failed, succeeded
from forgemesh.orchestrator.execution.effects import (
    ChildOrder,
    CutChildren,
    PauseChildren,
    ResumeChildren,
    StopChildren,
)
from forgemesh.orchestrator.execution.ending import open_below
from forgemesh.orchestrator.execution.engine.families import Families
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.engine.turns import Turns
from forgemesh.orchestrator.execution.family import awaited_at, is_ending, origin_of, told_apart
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState
from forgemesh.orchestrator.execution.trace.spans import traceparent
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.orchestrator.values.retry import RETRYABLE
from forgemesh.orchestrator.workflow.definition import Child

_log = logging.getLogger(__name__)

RunKey: TypeAlias = tuple[str, str, str]
"""Namespace, execution id, and the run id that the first event names."""

PATIENCE = 0.5
"""Seconds between tries to start a child while the store refuses."""


class ChildStarter(Protocol):
    """Starts children; see starts.Starts."""

    async def start_child(
        self, parent: Running, step: StepState, wanted: Callable[[], object], permit: Callable[[], None]
    ) -> ExecutionState | None:
        """
        Start the execution of the step's newest attempt, unless it is there; its state if it has ended already.

        `wanted` is asked once it is known not to be there, and `permit` in the moment in which the start goes into the
        queue of writes. Raises what they raise, what a start raises, and ExecutionExists if the id is another's.
        """


class Unwanted(Exception):
    """The child is not to be started now."""


class Children:
    """
    Starts a child when its attempt is durable and answers the attempt when the child has ended.

    What holds at any moment, whatever happens when and wherever the process dies:

    - A child is written only while its parent is open, waits for it with an open attempt, is not stopping around that
      step, and is neither paused nor queued. This is looked at in the moment in which the write is queued.
    - What a parent's turn decides for its children (their end, a pause, its lifting) goes into the queue of writes in
      the moment of that turn, in one go with it down to the youngest descendant. A child whose own start is in the
      queue then gets it before anything of it is acted upon. So nothing is started behind the end of an ancestor.
    - An open attempt of a workflow step is answered exactly once: by the end of its child, or, if that was let go or
      never was, without it. A cancelled parent ends after the children that it cancelled; a terminated one at once.
    - A child whose parent has ended has been asked to end as its step says, or was abandoned.
    - No execution stands deeper than `limits.depth`, and a family that has `limits.members` open members gets no more;
      abandoned children and forks count.
    """

    def __init__(
        self,
        turns: Turns,
        executions: OpenExecutions,
        families: Families,
        child_starter: ChildStarter,
        time_and_chance: TimeAndChance,
    ) -> None:
        self._turns = turns
        self._executions = executions
        self._families = families
        self._child_starter = child_starter
        self._time_and_chance = time_and_chance
        self._starting: dict[tuple[RunKey, str, int], set[Task[None]]] = {}
        """Of an attempt there may be two: the second one finds what the first one has started."""
        self._to_pass_on: deque[tuple[Running, ChildOrder]] = deque()
        self._passing_on = False

    def start(self, running: Running, path: str) -> None:
        """An attempt at a workflow step is on record, or was found open after a crash."""
        attempt = running.state.steps[path].attempts
        key = running.run, path, attempt

        def over(error: Exception | None) -> None:
            self._starting[key].discard(task)
            if not self._starting[key]:
                del self._starting[key]
            if error is not None:
                self._turns.broke(running, error)

        task = watched(self._start(running, path, attempt), over)
        self._starting.setdefault(key, set()).add(task)

    def drives(self, running: Running, step: StepState) -> bool:
        """
        Whether somebody answers the open attempt: its child, the start of that, or whoever lets the parent or the child
        go on.
        """
        assert step.started is not None
        name = (running.state.namespace, step.started.child_id)
        held = running.state.pause is not None or running.state.queued or name in self._executions.suspended
        known = self._executions.known(*name) is not None or self._families.is_under_way(name)
        return held or known or (running.run, step.path, step.attempts) in self._starting

    async def _start(self, running: Running, path: str, attempt: int) -> None:
        wanted = partial(self._check_wanted, running, path, attempt)
        permit = partial(self._permit, running, path, attempt)
        while self._is_open(running, path, attempt) and not self._turns.stopping:
            step = running.state.steps[path]  # not before: by now it may be over, and forgotten
            try:
                child = await self._child_starter.start_child(running, step, wanted, permit)
            except Unwanted:
                if running.state.is_stopping(step.scope) and not self._is_coming(running, step):
                    self._fail(running, path, attempt, failure_of(workflow.Cancelled(path), step_path=path))
            except workflow.ExecutionExists as fault:
                self._fail(running, path, attempt, self._taken(running, step, fault))
            except Fault as fault:
                if code_of(fault) in RETRYABLE and not isinstance(fault, workflow.FamilyTooLarge):
                    _log.warning("child of %s at %s cannot be started yet: %s", running.name[1], path, fault)
                    await asyncio.sleep(PATIENCE)
                    continue
                self._fail(running, path, attempt, failure_of(fault, step_path=path))
            else:
                if child is not None:
                    self._answer(running, path, attempt, child)
            return

    def _is_coming(self, running: Running, step: StepState) -> bool:
        """Another start of the same child is in the queue of writes, or was: its end answers the attempt."""
        assert step.started is not None
        name = (running.state.namespace, step.started.child_id)
        return self._families.is_under_way(name) or self._families.child_at(running, step) is not None

    def _taken(self, running: Running, step: StepState, fault: workflow.ExecutionExists) -> Failure:
        """
        The child's id is another execution's. Where it was started under that id, in another mesh or by the execution
        of which this is a copy, nobody sees it from here: it is lost, and the next attempt has an id of its own.
        """
        if not running.state.imported:
            return failure_of(fault, step_path=step.path)
        lost = workflow.OrchestratorLost(step.path, step.attempts, sent=True)
        return failure_of(lost, retryable=True, step_path=step.path)

    def _check_wanted(self, running: Running, path: str, attempt: int) -> tuple[StepState, tuple[str, str]]:
        """The step that waits for a child and may have one started now, and the child's name; raises Unwanted."""
        state = running.state
        step = state.open_attempts.get(path)
        if step is None or step.started is None or not self._is_open(running, path, attempt):
            raise Unwanted
        name = (state.namespace, step.started.child_id)
        held = state.is_stopping(step.scope) or state.pause is not None or state.queued
        if held or self._families.is_under_way(name):
            raise Unwanted
        return step, name

    def _permit(self, running: Running, path: str, attempt: int) -> None:
        """Raises Unwanted, FamilyTooDeep or FamilyTooLarge; otherwise the start counts as under way."""
        step, name = self._check_wanted(running, path, attempt)
        self._families.count_start(running, step, name)

    def _is_open(self, running: Running, path: str, attempt: int) -> bool:
        step = running.state.open_attempts.get(path)
        return self._executions.has(running) and step is not None and step.attempts == attempt

    def follow(self, running: Running, orders: Iterable[ChildOrder]) -> None:
        """A turn of an execution is in the queue of writes: what it means for its children goes there behind it."""
        self._to_pass_on += [(running, order) for order in orders]
        if self._passing_on:
            return
        self._passing_on = True
        try:
            while self._to_pass_on:
                parent, order = self._to_pass_on.popleft()
                with contained(f"what execution {parent.name[1]} decides for its children"):
                    self._pass_on(parent, order)
        finally:
            self._passing_on = False

    def _pass_on(self, running: Running, order: ChildOrder) -> None:
        match order:
            case StopChildren(path):
                for step in open_below(running.state, path):
                    if isinstance(step.step, Child):
                        self._let_go(running, step)
            case CutChildren():
                self._cut(running)
            case PauseChildren(pause):
                self._pause(running, pause)
            case ResumeChildren(by):
                self._go_on(running, by)
            case _:
                assert_never(order)

    def _cut(self, running: Running) -> None:
        """It was terminated, and does not wait for its children's ends."""
        for step in running.cut:
            child = self._families.child_at(running, step)
            if child is not None:
                self._close(child, _on_close(step), running.name[1])

    def _pause(self, running: Running, pause: e.PauseRequested) -> None:
        for step, child in self._families.waited_for(running):
            if child is not None:
                self._ask(running, step, child, "pause", lambda state: control.pause_with_parent(state, pause))

    def _go_on(self, running: Running, by: str) -> None:
        """What the parent's pause held goes on; children that were not started because of it are."""
        if running.state.pause is not None or running.state.queued:
            return
        for step, child in self._families.waited_for(running):
            if child is None:
                self.start(running, step.path)
            else:
                self._ask(running, step, child, "resume", lambda state: control.resume_with_parent(state, by))

    def _let_go(self, running: Running, step: StepState) -> None:
        """
        What is around the step ends early. Its child's end answers the attempt; without a child, or if that goes on by
        itself, the attempt ends now.
        """
        assert step.started is not None
        child = self._families.child_at(running, step)
        if child is None:
            name = (running.state.namespace, step.started.child_id)
            if not self._families.is_under_way(name) and self._executions.known(*name) is None:
                self.start(running, step.path)  # which finds out what became of it, and starts nothing any more
            elif _on_close(step) == "abandon":
                self._end_without(running, step)
        elif _on_close(step) == "abandon":
            self._end_without(running, step)
        else:
            self._close(child, _on_close(step), running.name[1], running, step)

    def _end_without(self, running: Running, step: StepState) -> None:
        failure = failure_of(workflow.Cancelled(step.path), step_path=step.path)
        self._fail(running, step.path, step.attempts, failure)

    def _close(
        self,
        child: Running,
        on_close: str,
        by: str,
        parent: Running | None = None,
        step: StepState | None = None,
    ) -> None:
        """Ask a child to end as its parent's step says; one that is about to be taken up hears it then."""
        if self._is_arriving(child):
            child.orphaned = on_close
            return
        by, reason = f"execution {by}", "the execution that waited for it has stopped"
        if on_close == "terminate":
            self._ask(parent, step, child, "terminate", lambda state: control.terminate(state, by, reason))
        elif on_close == "cancel":
            self._ask(parent, step, child, "cancel", lambda state: control.cancel(state, by, reason))

    def _ask(
        self,
        parent: Running | None,
        step: StepState | None,
        child: Running,
        command: str,
        ask: Callable[[ExecutionState], Sequence[e.Fact]],
    ) -> None:
        """What the child refuses stands in its parent's history, if that is open; a child that has ended is past it."""
        if self._is_arriving(child):
            self._turns.go_on(child)
        if not child.open:
            return
        try:
            facts = ask(child.state)
            if facts:
                self._turns.turn(child, facts)
        except Fault as fault:
            if parent is not None and step is not None and parent.open:
                refusal = e.ChildCommandRefused(step.path, child.name[1], command, failure_of(fault))
                self._turns.turn(parent, (refusal,))
        except Exception as error:  # noqa: BLE001 - it catches up on that when it is taken up again
            self._turns.broke(child, error)

    def _is_arriving(self, child: Running) -> bool:
        """Whether it was found after a crash, and its parent was taken up before it."""
        return not self._executions.has(child)

    def settle_in(self, child: Running, *, fresh: bool) -> None:
        """
        An execution is about to be acted upon for the first time here: catch up on what its parent has decided.

        `fresh`: it was written just now, and its parent may have paused meanwhile.
        """
        if not origin_of(child.state).parent_id or not child.open:
            return
        parent = self._families.parent_of(child)
        if parent is None:
            if child.orphaned or (fresh and not self._families.is_suspended(child)):
                self._close_orphan(child)
            return
        step = awaited_at(parent.state, child.state)
        assert step is not None
        if parent.state.is_stopping(step.scope):
            if not is_ending(child.state):
                self._close(child, _on_close(step), parent.name[1], parent, step)
        elif not fresh:
            facts = told_apart(parent.state, child.state)
            if facts:
                self._turns.turn(child, facts)
        elif parent.state.pause is not None:
            pause = parent.state.pause
            self._ask(parent, step, child, "pause", lambda state: control.pause_with_parent(state, pause))

    def _close_orphan(self, child: Running) -> None:
        if not is_ending(child.state):
            origin = origin_of(child.state)
            self._close(child, child.orphaned or origin.on_close, origin.parent_id)

    def ended(self, child: Running) -> None:
        """An execution has ended, and that is durable; if a step waits for it, that step goes on."""
        parent = self._families.parent_of(child)
        if parent is None:
            return
        origin = origin_of(child.state)
        try:
            self._answer(parent, origin.parent_path, origin.parent_attempt, child.state)
        except Exception as error:  # noqa: BLE001 - it looks for its child's end when it is taken up again
            self._turns.broke(parent, error)

    def _answer(self, parent: Running, path: str, attempt: int, child: ExecutionState) -> None:
        if not self._executions.has(parent):
            return
        if child.status is Status.SUCCEEDED:
            fact = succeeded(parent.state, path, attempt, child.output or NULL, None)
            if fact is not None:
                self._turns.turn(parent, (fact,))
            return
        cause = child.failure.message if child.failure is not None else child.status.value
        fault = workflow.ChildFailed(path, child.execution_id, child.status.value, cause)
        undone = child.status is not Status.COMPENSATION_FAILED  # or else a second one would begin on half of the first
        failure = failure_of(fault, retryable=undone, step_path=path)
        failure = failure.with_causes((child.failure,) if child.failure is not None else ())
        step = parent.state.open_attempts.get(path)
        if undone and step is not None and parent.state.is_stopping(step.scope):
            failure = failure_of(workflow.Cancelled(path), step_path=path)
        self._fail(parent, path, attempt, failure)

    def _fail(self, parent: Running, path: str, attempt: int, failure: Failure) -> None:
        if not self._executions.has(parent):
            return
        now, draw = self._time_and_chance.now(), self._time_and_chance.draw()
        fact = failed(parent.state, path, attempt, failure, None, now, draw)
        if fact is not None:
            self._turns.turn(parent, (fact,))


def _on_close(step: StepState) -> str:
    assert isinstance(step.step, Child)
    return step.step.on_close


def link_to(parent: ExecutionState, step: StepState) -> str:
    """The span of the attempt that waits for a child, "<trace>-<span>": the child's trace links to it."""
    assert parent.started is not None
    _, trace, span, _ = traceparent(parent.started, parent.execution_id, step.path, step.attempts).split("-")
    return f"{trace}-{span}"
