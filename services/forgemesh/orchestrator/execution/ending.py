"""How groups and executions end: early because of a failure, or once everything in them has ended."""

from __future__ import annotations

from collections.abc import Iterator

from forgemesh.faults import Fault, control, workflow
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.bindings import reader
from forgemesh.orchestrator.execution.branch_count import Enough, must_stop, outcome, summary
from forgemesh.orchestrator.execution.compensation import bad_end
from forgemesh.orchestrator.execution.rounds import after_round
from forgemesh.orchestrator.execution.state import ExecutionState, StepState
from forgemesh.orchestrator.execution.triggers import unhandled_failure
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import check_size
from forgemesh.orchestrator.workflow.expressions.template import evaluate


def stop(state: ExecutionState, path: str, failure: Failure | None) -> Iterator[e.Fact]:
    """Nothing new starts below `path`; what waits there ends now, what is open is taken back by the executor."""
    yield e.StopRequested(path, failure)
    prefix = f"{path}/" if path else ""
    queues = (state.to_skip, state.to_begin, state.ready, state.waiting, state.waits, state.incidents)
    for waiting in [step_path for queue in queues for step_path in queue]:
        if waiting.startswith(prefix):
            yield e.StepCancelled(waiting)


def open_below(state: ExecutionState, path: str) -> list[StepState]:
    """The open attempts that a StopRequested at `path` takes back."""
    prefix = f"{path}/" if path else ""
    return [step for step in state.open_attempts.values() if step.path.startswith(prefix)]


def settle(state: ExecutionState, path: str, now: int) -> Iterator[e.Fact]:
    """What follows from the end of a branch of the group at `path`, or of everything."""
    if not path:
        yield _finish(state)
        return
    group = state.steps[path]
    assert group.branches is not None
    if group.branches.open:
        early = must_stop(group)
        if early is not None:
            yield from stop(state, path, early if isinstance(early, Failure) else None)
        return
    yield after_round(state, group, now) if group.step.rounds else _group_end(state, group)


def _group_end(state: ExecutionState, group: StepState) -> e.Fact:
    if group.stopping is not None:
        return e.StepFailed(group.path, summary(group)) if group.stopping.failure else e.GroupSucceeded(group.path)
    failure = outcome(group)
    if failure is not None:
        return e.StepFailed(group.path, failure)
    if state.is_stopping(group.scope) and not _all_complete(state, group):
        return e.StepCancelled(group.path)
    return e.GroupSucceeded(group.path)


def _all_complete(state: ExecutionState, group: StepState) -> bool:
    branches = group.branches
    assert branches is not None
    return isinstance(must_stop(group), Enough) or branches.ended == branches.count


def _finish(state: ExecutionState) -> e.Fact:
    """Everything has ended: well, badly, or with effects to undo first."""
    stopped = state.stopping.failure if state.stopping is not None else None
    failure = stopped or unhandled_failure(state, state.scopes[""])
    if failure is None:
        try:
            output = evaluate(state.definition.output, reader(state, state.scopes[""]))
            check_size(output, "the execution's output")
            return e.ExecutionSucceeded(output)
        except Fault as fault:
            failure = failure_of(fault)
    if state.undoable:
        return e.CompensationStarted(failure)
    return bad_end(state, failure, end_status(state))


def end_status(state: ExecutionState) -> str:
    """How an execution ends badly whose effects need not be undone: what stopped it first says so."""
    stopped = state.stopping.failure if state.stopping is not None else None
    return _ENDS.get(stopped.reason, "FAILED") if stopped is not None else "FAILED"


_ENDS = {workflow.ExecutionTimeout.reason: "TIMED_OUT", control.ExecutionCancelled.reason: "CANCELLED"}
