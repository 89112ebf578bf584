"""
Undoing what an execution has done (the saga pattern, Garcia-Molina and Salem 1987): the compensations of its steps, one
after the other, the step that ended last first.
"""

from __future__ import annotations

from collections.abc import Iterator

from forgemesh.faults import Fault
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.bindings import reader
from forgemesh.orchestrator.execution.state import ExecutionState, StepState, StepStatus
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import check_size
from forgemesh.orchestrator.workflow.definition import COMPENSATION, Call
from forgemesh.orchestrator.workflow.expressions.reading import Read
from forgemesh.orchestrator.workflow.expressions.template import evaluate


def next_compensation(state: ExecutionState) -> Iterator[e.Fact]:
    """The next step to undo, or the end of the execution; nothing while one is being undone."""
    if state.undoing is not None:
        return
    assert state.failure is not None
    if not state.undoable:
        yield bad_end(state, state.failure, "COMPENSATED")
        return
    last = state.undoable[-1]
    path = f"{last.path}{COMPENSATION}"
    undone = state.steps.get(path)
    if undone is not None and undone.status is StepStatus.FAILED:
        left = tuple(step.path for step in reversed(state.undoable))
        cause = (undone.failure,) if undone.failure is not None else ()
        failure = state.failure.with_causes((*state.failure.causes, *cause))
        yield bad_end(state, failure, "COMPENSATION_FAILED", left)
        return
    yield _undo(state, path, last)


def bad_end(state: ExecutionState, failure: Failure, status: str, left: tuple[str, ...] = ()) -> e.Fact:
    """The end of an execution that failed; what its children could not undo is left to do as well."""
    if not state.left_by_children:
        return e.ExecutionFailed(failure, status, left)
    causes = [cause for cause in state.left_by_children.values() if cause != failure and cause not in failure.causes]
    failure = failure.with_causes((*failure.causes, *causes))
    return e.ExecutionFailed(failure, "COMPENSATION_FAILED", (*left, *state.left_by_children))


def left_to_do(state: ExecutionState) -> tuple[str, ...]:
    """
    Steps whose effects stand, or may: those that have ended, and those of which an attempt is open that may have left,
    or of which nobody knows. The next one to undo first.
    """
    open_steps = [
        step
        for step in state.steps.values()
        if not step.status.final
        and step.compensates is None
        and isinstance(step.step, Call)
        and step.step.compensate is not None
        and (step.doubtful or (step.path in state.open_attempts and step.status is not StepStatus.BLOCKED))
    ]
    open_steps.sort(key=lambda step: -step.began_at)
    return tuple(step.path for step in (*open_steps, *reversed(state.undoable)))


def is_undone(state: ExecutionState, path: str) -> bool:
    """Whether the effect of that name was undone, or may be at this moment: its compensation has begun, or is next."""
    if state.compensating and not state.status.final:
        return True
    return f"{path}{COMPENSATION}" in state.steps or all(effect.path != path for effect in state.undoable)


def _sight(state: ExecutionState, step: StepState) -> Read:
    """What a compensation sees: of an effect that was taken over, what it would have seen in the origin."""
    read, view = reader(state, step.scope, undoing=step), step.view
    if view is None:
        return read
    return lambda variable: view[variable] if variable in view else read(variable)


def _undo(state: ExecutionState, path: str, step: StepState) -> e.Fact:
    assert isinstance(step.step, Call)
    assert step.step.compensate is not None
    try:
        given = evaluate(step.step.compensate.input, _sight(state, step))
        check_size(given, f"the input of {path!r}")
    except Fault as fault:
        return e.StepFailed(path, failure_of(fault, step_path=path))
    return e.AttemptStarted(path, 1, given)
