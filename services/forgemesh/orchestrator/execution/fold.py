"""Folding events into the state of an execution, at the same cost per event however large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from forgemesh.faults import Code
from forgemesh.faults.workflow import ChildFailed
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fate import is_in_doubt
from forgemesh.orchestrator.execution.fork_names import iterations_in
from forgemesh.orchestrator.execution.guarantee import doubts_after
from forgemesh.orchestrator.execution.scopes import (
    begin_step,
    end_round,
    end_step,
    end_taken,
    leave_waiting,
    leave_waits,
    merge_variables,
    open_scope,
    pass_on,
    start_group,
    start_round,
    wake,
)
from forgemesh.orchestrator.execution.standing import (
    cancel_requested,
    close,
    execution_paused,
    execution_resumed,
    lift_pauses,
    pause_requested,
    stand,
)
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState, StepStatus
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.orchestrator.values.retry import FAILOVER, INTERRUPTED, SECOND, was_put_off
from forgemesh.orchestrator.workflow.definition import COMPENSATION, Call, Definition, Wait

_NOT_UNDONE = Status.COMPENSATION_FAILED.value
MAX_TRIED = 16
"""So many of the instances on which a step failed are known."""


class AfterEnd(ValueError):
    """A fact came for an execution that has ended. Whoever made it did not look first: a bug."""

    def __init__(self, execution_id: str, status: str, kind: str) -> None:
        super().__init__(f"{execution_id}: {kind} cannot follow, it has ended as {status}")


class IllegalFact(ValueError):
    """A fact came that cannot follow where the execution stands. Whoever made it did not look first: a bug."""

    def __init__(self, execution_id: str, status: str, kind: str) -> None:
        super().__init__(f"{execution_id}: {kind} cannot follow while it is {status}")


def refused(state: ExecutionState, fact: e.Fact) -> AfterEnd | IllegalFact:
    """Why a new fact is not taken."""
    kind = type(fact).__name__
    if state.ended is not None:
        return AfterEnd(state.execution_id, state.ended.value, kind)
    return IllegalFact(state.execution_id, state.status.value, kind)


def fold(namespace: str, execution_id: str, definition: Definition, events: Iterable[e.Event]) -> ExecutionState:
    """The state after the `events` of a history as it was stored, which start with the execution's first."""
    state = ExecutionState(namespace, execution_id, definition)
    for event in events:
        restore(state, event)
    return state


def restore(state: ExecutionState, event: e.Event) -> bool:
    """
    Fold one event of a stored history in; False if it stands behind the end, and then it only counts.

    Earlier versions gave executions that had ended the place for which they had waited. Their first end holds.
    """
    if state.ended is None:
        apply(state, event)
        return True
    if event.sequence != state.sequence + 1:
        raise ValueError(f"{state.execution_id}: event {event.sequence} cannot follow {state.sequence}")
    state.sequence = event.sequence
    return False


def apply(state: ExecutionState, event: e.Event) -> None:
    """Fold one event in; raises ValueError if it is not the next one, and AfterEnd if nothing may follow."""
    if state.ended is not None:
        raise refused(state, event.fact)
    if event.sequence != state.sequence + 1:
        raise ValueError(f"{state.execution_id}: event {event.sequence} cannot follow {state.sequence}")
    state.sequence = event.sequence
    state.last_at = event.at
    _FOLDS[type(event.fact)](state, event.fact, event.at)
    if state.to_take:
        end_taken(state, event.at)


def _execution_started(state: ExecutionState, fact: e.ExecutionStarted, at: int) -> None:
    state.started, state.started_at, state.deadline = fact, at, fact.deadline
    state.run_id = state.run_id or fact.run_id
    state.queued, state.rules = fact.queued, fact.rules
    state.vars_set = not state.definition.vars
    open_scope(state, "", state.definition.steps, None, at, source="")
    stand(state)


def _execution_admitted(state: ExecutionState, fact: e.ExecutionAdmitted, at: int) -> None:
    state.queued = False
    stand(state)


def _execution_succeeded(state: ExecutionState, fact: e.ExecutionSucceeded, at: int) -> None:
    state.output = fact.output
    close(state, Status.SUCCEEDED, at)


def _execution_failed(state: ExecutionState, fact: e.ExecutionFailed, at: int) -> None:
    state.failure, state.left_to_do = fact.failure, fact.left_to_do
    for step in state.steps.values():
        if not step.status.final:
            step.status, step.ended_at, step.next_at = StepStatus.CANCELLED, at, 0
    close(state, Status(fact.status or "FAILED"), at)


def _execution_queued(state: ExecutionState, fact: e.ExecutionQueued, at: int) -> None:
    state.queued = True
    stand(state)


def _child_command_refused(state: ExecutionState, fact: e.ChildCommandRefused, at: int) -> None:
    """Nothing follows from it: the child goes on, and its end will answer the attempt."""


def _execution_recovered(state: ExecutionState, fact: e.ExecutionRecovered, at: int) -> None:
    """Nothing follows from it by itself: the attempts that were lost fail in events of their own."""


def _signal_received(state: ExecutionState, fact: e.SignalReceived, at: int) -> None:
    state.signals.setdefault(fact.name, []).append((state.sequence, fact))
    if fact.signal_id:
        state.signal_ids[fact.signal_id] = (state.sequence, e.content_of(fact))


def _variables_set(state: ExecutionState, fact: e.VariablesSet, at: int) -> None:
    if not fact.path:
        known = state.scopes[""].vars  # a fork has those that its origin's steps had set
        state.scopes[""].vars = dict(fact.values) | known
        state.vars_set = True
        return
    step = state.to_set.pop(fact.path)
    step.scope.vars |= fact.values
    pass_on(state, step, at)


def _result_taken(state: ExecutionState, fact: e.ResultTaken, at: int) -> None:
    state.taken[fact.path] = fact
    for group, index, item in zip(*iterations_in(fact.path), fact.items, strict=False):
        state.taken_items.setdefault(group, {})[item] = index
    if fact.path in state.to_begin or fact.path in state.ready:
        state.to_take.append((fact.path, fact))


def _effect_taken(state: ExecutionState, fact: e.EffectTaken, at: int) -> None:
    """It is undone with the others, also if the step never has its turn here."""
    step = state.definition.step_at(fact.path)
    effect = StepState(fact.path, step, state.scopes[""], at, status=StepStatus.SUCCEEDED, ended_at=at, taken=True)
    effect.view = fact.view
    state.effects[fact.origin_path] = effect
    state.undoable.append(effect)


def _attempt_started(state: ExecutionState, fact: e.AttemptStarted, at: int) -> None:
    step = state.steps.get(fact.path) or _begin_worker(state, fact.path, at)
    leave_waiting(state, fact.path)
    state.ready.pop(fact.path, None)
    step.status, step.next_at = StepStatus.RUNNING, 0
    step.attempts, step.attempted_at = fact.attempt, at
    step.started = fact
    if fact.input is not None:
        step.input = fact.input
    state.open_attempts[fact.path] = step


def _begin_worker(state: ExecutionState, path: str, at: int) -> StepState:
    if path.endswith(COMPENSATION):
        undone = next(step for step in reversed(state.undoable) if step.path + COMPENSATION == path)
        step = StepState(path, undone.step, undone.scope, at, undone.index, compensates=undone)
        state.steps[path] = state.undoing = step
        return step
    step = begin_step(state, path, at)
    if isinstance(step.step, Call) and step.step.timeouts.schedule_to_close is not None:
        step.close_at = at + round(step.step.timeouts.schedule_to_close * SECOND)
        wake(state, step.close_at, path)
    return step


def _attempt_succeeded(state: ExecutionState, fact: e.AttemptSucceeded, at: int) -> None:
    step = _close_attempt(state, fact.path)
    step.dispatch, step.failure, step.output = fact.dispatch, None, fact.output
    end_step(state, step, StepStatus.SUCCEEDED, at)


def _attempt_failed(state: ExecutionState, fact: e.AttemptFailed, at: int) -> None:
    step = _close_attempt(state, fact.path)
    step.dispatch, step.failure = fact.dispatch, fact.failure
    step.tried = _tried(step, fact.dispatch)
    step.lost += fact.failure.reason in FAILOVER
    step.unmade += was_put_off(fact.failure)
    step.spent += fact.failure.reason == INTERRUPTED
    step.doubtful |= is_in_doubt(fact)
    step.doubts = doubts_after(step.doubts, fact)
    step.details = fact.details or step.details
    if fact.failure.reason == ChildFailed.reason and fact.failure.metadata.get("status") == _NOT_UNDONE:
        state.left_by_children[fact.path] = fact.failure
    if fact.next_at:
        step.status, step.next_at = StepStatus.WAITING, fact.next_at
        state.waiting[fact.path] = step
        wake(state, fact.next_at, fact.path)
        return
    if fact.incident:
        step.status = StepStatus.IN_DOUBT if fact.incident == StepStatus.IN_DOUBT.value else StepStatus.INCIDENT
        state.incidents[fact.path] = step
        leave_waiting(state, fact.path)
    elif fact.failure.code == Code.CANCELLED and state.is_stopping(step.scope) and step.compensates is None:
        end_step(state, step, StepStatus.CANCELLED, at)
    else:
        end_step(state, step, StepStatus.FAILED, at)


def _tried(step: StepState, dispatch: Dispatch | None) -> tuple[str, ...]:
    if dispatch is None or dispatch.instance_id in step.tried:
        return step.tried
    return (*step.tried, dispatch.instance_id)[-MAX_TRIED:]


def _step_blocked(state: ExecutionState, fact: e.StepBlocked, at: int) -> None:
    step = state.steps[fact.path]
    step.status, step.blocked, step.blocked_at = StepStatus.BLOCKED, fact, at


def _step_unblocked(state: ExecutionState, fact: e.StepUnblocked, at: int) -> None:
    step = state.steps[fact.path]
    step.status, step.blocked, step.blocked_at = StepStatus.RUNNING, None, 0


def _incident_opened(state: ExecutionState, fact: e.IncidentOpened, at: int) -> None:
    step = state.steps.get(fact.path) or begin_step(state, fact.path, at)
    step.status, step.failure, step.next_at = StepStatus.INCIDENT, fact.failure, 0
    state.incidents[fact.path] = step
    leave_waiting(state, fact.path)


def _incident_resolved(state: ExecutionState, fact: e.IncidentResolved, at: int) -> None:
    step = state.incidents.pop(fact.path)
    state.resolved[fact.path] = fact
    if fact.action != "fail":  # somebody has seen to it
        state.left_by_children.pop(fact.path, None)
    if fact.action == "retry":
        step.spent, step.close_at, step.tried, step.doubts = step.attempts - step.lost, 0, (), ()
        step.status = StepStatus.WAITING
        if fact.payload is not None:
            step.input = fact.payload
            if step.started is not None and step.started.cache_key:  # which was made of another input
                step.started = msgspec.structs.replace(step.started, cache_key="")
        if step.input is None:  # it never began: what it begins with is evaluated anew
            del state.steps[fact.path], step.scope.begun[step.step.id]
        state.ready[fact.path] = (step.scope, step.index)
    elif fact.action == "complete":
        step.failure, step.doubtful = None, False
        step.output = fact.payload if fact.payload is not None else NULL
        end_step(state, step, StepStatus.SUCCEEDED, at)
    else:
        end_step(state, step, StepStatus.FAILED, at)


def _group_started(state: ExecutionState, fact: e.GroupStarted, at: int) -> None:
    start_group(state, begin_step(state, fact.path, at), fact, at)


def _round_started(state: ExecutionState, fact: e.RoundStarted, at: int) -> None:
    start_round(state, state.steps[fact.path], at)


def _round_judged(state: ExecutionState, fact: e.RoundJudged, at: int) -> None:
    end_round(state, state.steps[fact.path], fact)


def _group_succeeded(state: ExecutionState, fact: e.GroupSucceeded, at: int) -> None:
    group = state.steps[fact.path]
    group.failure = None
    merge_variables(state, group)
    end_step(state, group, StepStatus.SUCCEEDED, at)


def _wait_started(state: ExecutionState, fact: e.WaitStarted, at: int) -> None:
    step = begin_step(state, fact.path, at)
    step.status, step.waits = StepStatus.WAITING, fact
    state.waits[fact.path] = step
    if fact.signal:
        state.listening.setdefault(fact.signal, {})[fact.path] = step
    if fact.until:
        wake(state, fact.until, fact.path, by_wall=isinstance(step.step, Wait) and step.step.until is not None)


def _wait_ended(state: ExecutionState, fact: e.WaitEnded, at: int) -> None:
    step = state.steps[fact.path]
    step.output = fact.output
    if fact.signal and step.waits is not None:
        kept = state.signals[step.waits.signal]
        kept[:] = [entry for entry in kept if entry[0] != fact.signal]
        if not kept:
            del state.signals[step.waits.signal]
    leave_waits(state, step)
    end_step(state, step, StepStatus.SUCCEEDED, at)


def _step_failed(state: ExecutionState, fact: e.StepFailed, at: int) -> None:
    step = state.steps.get(fact.path)
    if step is None:
        step = (
            _begin_worker(state, fact.path, at)
            if fact.path.endswith(COMPENSATION)
            else begin_step(state, fact.path, at)
        )
    step.failure = fact.failure
    if state.to_set.pop(fact.path, None) is not None:  # it had succeeded, and its variables could not be set
        step.status = StepStatus.FAILED
        pass_on(state, step, at)
        return
    end_step(state, step, StepStatus.FAILED, at)


def _step_skipped(state: ExecutionState, fact: e.StepSkipped, at: int) -> None:
    step = state.steps.get(fact.path) or begin_step(state, fact.path, at)
    step.output, step.skipped = NULL, fact.reason
    end_step(state, step, StepStatus.SKIPPED, at)


def _step_cancelled(state: ExecutionState, fact: e.StepCancelled, at: int) -> None:
    step = state.steps.get(fact.path) or begin_step(state, fact.path, at)
    end_step(state, step, StepStatus.CANCELLED, at)


def _stop_requested(state: ExecutionState, fact: e.StopRequested, at: int) -> None:
    if not fact.path:
        state.stopping = fact
        lift_pauses(state)
        stand(state)
        return
    group = state.steps[fact.path]
    group.stopping = fact
    state.to_settle.pop(fact.path, None)
    if group.branches is not None and group.branches.open == 0:
        state.to_settle[fact.path] = None


def _compensation_started(state: ExecutionState, fact: e.CompensationStarted, at: int) -> None:
    state.compensating, state.failure = True, fact.failure
    stand(state)
    state.to_settle.clear()


_FOLDS: Mapping[type, Callable[[ExecutionState, Any, int], None]] = {
    e.ExecutionStarted: _execution_started,
    e.ExecutionAdmitted: _execution_admitted,
    e.ExecutionSucceeded: _execution_succeeded,
    e.ExecutionFailed: _execution_failed,
    e.ExecutionRecovered: _execution_recovered,
    e.PauseRequested: pause_requested,
    e.ExecutionPaused: execution_paused,
    e.ExecutionResumed: execution_resumed,
    e.CancelRequested: cancel_requested,
    e.SignalReceived: _signal_received,
    e.VariablesSet: _variables_set,
    e.ResultTaken: _result_taken,
    e.EffectTaken: _effect_taken,
    e.AttemptStarted: _attempt_started,
    e.AttemptSucceeded: _attempt_succeeded,
    e.AttemptFailed: _attempt_failed,
    e.StepBlocked: _step_blocked,
    e.StepUnblocked: _step_unblocked,
    e.IncidentOpened: _incident_opened,
    e.IncidentResolved: _incident_resolved,
    e.GroupStarted: _group_started,
    e.RoundStarted: _round_started,
    e.RoundJudged: _round_judged,
    e.GroupSucceeded: _group_succeeded,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _wait_ended,
    e.StepFailed: _step_failed,
    e.StepSkipped: _step_skipped,
    e.StepCancelled: _step_cancelled,
    e.StopRequested: _stop_requested,
    e.CompensationStarted: _compensation_started,
    e.ChildCommandRefused: _child_command_refused,
    e.ExecutionQueued: _execution_queued,
}


def _close_attempt(state: ExecutionState, path: str) -> StepState:
    step = state.open_attempts.pop(path)
    step.blocked, step.blocked_at = None, 0
    return step
