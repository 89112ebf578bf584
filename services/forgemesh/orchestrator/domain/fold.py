"""Folding events into the state of an execution, at the same cost per event however large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import Any

from forgemesh.faults import Code
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Call, Definition, Step
from forgemesh.orchestrator.domain.payload import NULL
from forgemesh.orchestrator.domain.retry import FAILOVER
from forgemesh.orchestrator.domain.state import ExecutionState, Scope, Status, StepState, StepStatus


def fold(namespace: str, execution_id: str, definition: Definition, events: Iterable[e.Event]) -> ExecutionState:
    """The state after `events`, which start with the execution's first."""
    state = ExecutionState(namespace, execution_id, definition)
    for event in events:
        apply(state, event)
    return state


def apply(state: ExecutionState, event: e.Event) -> None:
    """Fold one event in; raises ValueError if it is not the next one."""
    if event.sequence != state.sequence + 1:
        raise ValueError(f"{state.execution_id}: event {event.sequence} cannot follow {state.sequence}")
    state.sequence = event.sequence
    state.last_at = event.at
    _FOLDS[type(event.fact)](state, event.fact, event.at)


def _execution_started(state: ExecutionState, fact: e.ExecutionStarted, at: int) -> None:
    state.started, state.started_at = fact, at
    _open(state, "", state.definition.steps, None, None)


def _execution_succeeded(state: ExecutionState, fact: e.ExecutionSucceeded, at: int) -> None:
    state.status, state.output, state.ended_at = Status.SUCCEEDED, fact.output, at
    state.to_settle.clear()


def _execution_failed(state: ExecutionState, fact: e.ExecutionFailed, at: int) -> None:
    state.status, state.failure, state.ended_at = Status.FAILED, fact.failure, at
    state.to_settle.clear()


def _execution_recovered(state: ExecutionState, fact: e.ExecutionRecovered, at: int) -> None:
    """Nothing follows from it by itself: the tries that were lost fail in events of their own."""


def _attempt_started(state: ExecutionState, fact: e.AttemptStarted, at: int) -> None:
    step = state.steps.get(fact.path) or _begin(state, fact.path, at)
    _leave_waiting(state, fact.path)
    step.status, step.next_at = StepStatus.RUNNING, 0
    step.attempts = fact.attempt
    if fact.input is not None:
        step.input = fact.input
    state.open_attempts[fact.path] = step


def _attempt_succeeded(state: ExecutionState, fact: e.AttemptSucceeded, at: int) -> None:
    step = _close_attempt(state, fact.path)
    step.dispatch, step.failure, step.output = fact.dispatch, None, fact.output
    _end(state, step, StepStatus.SUCCEEDED, at)


def _attempt_failed(state: ExecutionState, fact: e.AttemptFailed, at: int) -> None:
    step = _close_attempt(state, fact.path)
    step.dispatch, step.failure = fact.dispatch, fact.failure
    step.lost += fact.failure.reason in FAILOVER
    if fact.next_at:
        step.status, step.next_at = StepStatus.WAITING, fact.next_at
        state.waiting[fact.path] = step
        heappush(state.wakes, (fact.next_at, fact.path))
    elif fact.failure.code == Code.CANCELLED and state.is_stopping(step.scope):
        _end(state, step, StepStatus.CANCELLED, at)
    else:
        _end(state, step, StepStatus.FAILED, at)


def _step_blocked(state: ExecutionState, fact: e.StepBlocked, at: int) -> None:
    step = state.steps[fact.path]
    step.status, step.blocked, step.blocked_at = StepStatus.BLOCKED, fact, at


def _step_unblocked(state: ExecutionState, fact: e.StepUnblocked, at: int) -> None:
    step = state.steps[fact.path]
    step.status, step.blocked, step.blocked_at = StepStatus.RUNNING, None, 0


def _group_started(state: ExecutionState, fact: e.GroupStarted, at: int) -> None:
    group = _begin(state, fact.path, at)
    assert not isinstance(group.step, Call)
    group.branches, group.open_branches = fact.branches, len(fact.branches)
    declared = {branch.name: branch for branch in group.step.branches}
    for name in fact.branches:
        _open(state, f"{fact.path}/{name}", declared[name].steps, group, group.scope)


def _group_succeeded(state: ExecutionState, fact: e.GroupSucceeded, at: int) -> None:
    _end(state, state.steps[fact.path], StepStatus.SUCCEEDED, at)


def _step_failed(state: ExecutionState, fact: e.StepFailed, at: int) -> None:
    step = state.steps.get(fact.path) or _begin(state, fact.path, at)
    step.failure = fact.failure
    _end(state, step, StepStatus.FAILED, at)


def _step_skipped(state: ExecutionState, fact: e.StepSkipped, at: int) -> None:
    step = _begin(state, fact.path, at)
    step.output = NULL
    _end(state, step, StepStatus.SKIPPED, at)


def _step_cancelled(state: ExecutionState, fact: e.StepCancelled, at: int) -> None:
    step = state.steps.get(fact.path) or _begin(state, fact.path, at)
    _end(state, step, StepStatus.CANCELLED, at)


def _stop_requested(state: ExecutionState, fact: e.StopRequested, at: int) -> None:
    if fact.path:
        state.steps[fact.path].stopping = fact.failure
    else:
        state.stopping = fact.failure
    state.to_settle.pop(fact.path, None)


_FOLDS: Mapping[type, Callable[[ExecutionState, Any, int], None]] = {
    e.ExecutionStarted: _execution_started,
    e.ExecutionSucceeded: _execution_succeeded,
    e.ExecutionFailed: _execution_failed,
    e.ExecutionRecovered: _execution_recovered,
    e.AttemptStarted: _attempt_started,
    e.AttemptSucceeded: _attempt_succeeded,
    e.AttemptFailed: _attempt_failed,
    e.StepBlocked: _step_blocked,
    e.StepUnblocked: _step_unblocked,
    e.GroupStarted: _group_started,
    e.GroupSucceeded: _group_succeeded,
    e.StepFailed: _step_failed,
    e.StepSkipped: _step_skipped,
    e.StepCancelled: _step_cancelled,
    e.StopRequested: _stop_requested,
}


def _open(
    state: ExecutionState, path: str, steps: tuple[Step, ...], group: StepState | None, outer: Scope | None
) -> None:
    scope = state.scopes[path] = Scope(path, steps, group, outer)
    state.to_begin[scope.path_of(0)] = (scope, 0)


def _begin(state: ExecutionState, path: str, at: int) -> StepState:
    scope, index = state.to_begin.pop(path)
    step = StepState(path, scope.steps[index], scope, at)
    state.steps[path] = scope.begun[step.step.id] = step
    return step


def _leave_waiting(state: ExecutionState, path: str) -> None:
    """Keep the heap's first wake a true one."""
    if state.waiting.pop(path, None) is None:
        return
    while state.wakes:
        at, first = state.wakes[0]
        step = state.waiting.get(first)
        if step is not None and step.next_at == at:
            return
        heappop(state.wakes)


def _close_attempt(state: ExecutionState, path: str) -> StepState:
    step = state.open_attempts.pop(path)
    step.blocked, step.blocked_at = None, 0
    return step


def _end(state: ExecutionState, step: StepState, status: StepStatus, at: int) -> None:
    step.status, step.ended_at, step.next_at = status, at, 0
    _leave_waiting(state, step.path)
    state.to_settle.pop(step.path, None)
    scope = step.scope
    scope.index += 1
    goes_on = status in (StepStatus.SUCCEEDED, StepStatus.SKIPPED) and not state.is_stopping(scope)
    if goes_on and scope.index < len(scope.steps):
        state.to_begin[scope.path_of(scope.index)] = (scope, scope.index)
    elif scope.group is None:
        state.failure = step.failure if status is StepStatus.FAILED else None
        state.to_settle[""] = None
    else:
        _end_branch(state, scope.group, step)


def _end_branch(state: ExecutionState, group: StepState, last: StepState) -> None:
    group.open_branches -= 1
    if last.status is StepStatus.FAILED and group.failure is None:
        group.failure = last.failure
    fails_now = group.failure is not None and group.stopping is None and not state.is_stopping(group.scope)
    if fails_now or group.open_branches == 0:
        state.to_settle[group.path] = None
