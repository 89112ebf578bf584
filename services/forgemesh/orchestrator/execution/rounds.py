"""The rounds of loops: what follows from the end of one, and when the next one begins."""

from __future__ import annotations

from forgemesh.faults import Fault
from forgemesh.faults.workflow import LoopLimitReached
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.bindings import reader
from forgemesh.orchestrator.execution.branch_count import outcome
from forgemesh.orchestrator.execution.scopes import round_path
from forgemesh.orchestrator.execution.state import ExecutionState, Scope, StepState
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Loop
from forgemesh.orchestrator.workflow.expressions.template import evaluate_condition


def after_round(state: ExecutionState, loop: StepState, now: int) -> e.Fact:
    """What follows from the newest round, which has ended: the verdict on it and, if that was it, the loop's end."""
    failure = outcome(loop)
    if failure is not None:
        return e.StepFailed(loop.path, failure)
    if loop.verdict is not None:
        return _end(loop, loop.verdict)
    return e.StepCancelled(loop.path) if state.is_stopping(loop.scope) else _verdict(state, loop, now)


def next_round(loop: StepState) -> e.Fact:
    """The time for it has come."""
    assert loop.branches is not None
    return e.RoundStarted(loop.path, loop.branches.next)


def _verdict(state: ExecutionState, loop: StepState, now: int) -> e.Fact:
    """The condition is evaluated where the round's steps are in sight."""
    assert isinstance(loop.step, Loop)
    assert loop.branches is not None
    index = loop.branches.next - 1
    scope = state.scopes[round_path(loop, index)]
    try:
        done = evaluate_condition(loop.step.until, reader(state, scope))
    except Fault as fault:
        return e.StepFailed(loop.path, failure_of(fault, step_path=loop.path))
    if done or index + 1 == loop.step.max_iterations:
        return e.RoundJudged(loop.path, index, done)
    return e.RoundJudged(loop.path, index, next_at=max(now, 1) + _pause_after(scope, loop.step))


def _pause_after(scope: Scope, loop: Loop) -> int:
    """In nanoseconds; a round of which a fork took everything over is not waited for again."""
    return 0 if all(step.taken for step in scope.begun.values()) else round(loop.delay * SECOND)


def _end(loop: StepState, verdict: e.RoundJudged) -> e.Fact:
    assert isinstance(loop.step, Loop)
    if verdict.done or loop.step.on_limit == "succeed":
        return e.GroupSucceeded(loop.path)
    fault = LoopLimitReached(loop.path, loop.step.max_iterations, loop.step.until.program.source)
    return e.StepFailed(loop.path, failure_of(fault, step_path=loop.path))
