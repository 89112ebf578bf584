"""
Whether the events of a file can be the history of an execution.

Folding trusts who made the events, since that asked the state first. A file may be anybody's: an event that does not
belong where it stands leaves a state that no engine makes, in which deciding may fail, or come to no end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.beginning import MAX_ITEMS
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState
from forgemesh.orchestrator.workflow.definition import (
    COMPENSATION,
    Call,
    Child,
    Group,
    Wait,
)

TRACE_ID = 16
"""Bytes."""
_ACTIONS = ("retry", "complete", "fail")
_BEGINNINGS = (e.AttemptStarted, e.GroupStarted, e.WaitStarted, e.IncidentOpened, e.RoundStarted)
_INCIDENTS = ("", "EXHAUSTED", "IN_DOUBT")

Check: TypeAlias = Callable[[ExecutionState, Any], bool]


def check_event(state: ExecutionState, event: e.Event) -> None:
    """
    Raises ValueError if `event` cannot be the next one after those that are folded into `state`.

    What stands behind an end is not looked at: it only counts, see fold.restore.
    """
    if state.ended is not None:
        return
    fact = event.fact
    begins = isinstance(fact, e.ExecutionStarted)
    check = _CHECKS.get(type(fact))
    fits = event.at >= 0 and begins is (state.started is None) and _is_time_for(state, fact)
    if not fits or (check is not None and not check(state, fact)):
        raise ValueError(f"event {event.sequence}, {type(fact).__name__}, cannot stand there")


def check_rest(state: ExecutionState) -> None:
    """Raises ValueError if something waits in the last state of a history that was to end with what was stopped."""
    for queue in _queues(state):
        for path in queue:
            if not path.endswith(COMPENSATION) and _is_stopped(state, path):
                raise ValueError(f"{path} waits, although what is around it was stopped")


def _is_time_for(state: ExecutionState, fact: e.Fact) -> bool:
    """Nothing begins in what was stopped; once all has ended, it is only undone."""
    path: str = getattr(fact, "path", "")
    if not path or path.endswith(COMPENSATION) or isinstance(fact, e.ChildCommandRefused):
        return True
    return not state.compensating and not (isinstance(fact, _BEGINNINGS) and _is_stopped(state, path))


def _is_stopped(state: ExecutionState, path: str) -> bool:
    step = state.steps.get(path)
    turns = (queue[path][0] for queue in (state.to_begin, state.ready, state.to_skip) if path in queue)
    scope = step.scope if step is not None else next(turns, None)
    return scope is not None and state.is_stopping(scope)


def _queues(state: ExecutionState) -> tuple[Collection[str], ...]:
    """Steps in which nothing is under way."""
    return (state.to_begin, state.ready, state.to_skip, state.waiting, state.waits, state.incidents)


def _started(state: ExecutionState, fact: e.ExecutionStarted) -> bool:
    return len(fact.trace_id) == TRACE_ID and len(fact.parent_span_id) in (0, TRACE_ID // 2) and fact.deadline >= 0


def _failed(state: ExecutionState, fact: e.ExecutionFailed) -> bool:
    status = Status.__members__.get(fact.status or "FAILED")
    return status is not None and status.final and status is not Status.SUCCEEDED


def _attempt_started(state: ExecutionState, fact: e.AttemptStarted) -> bool:
    step = state.steps.get(fact.path)
    if fact.attempt != (step.attempts if step is not None else 0) + 1:
        return False
    if step is not None:
        waits = fact.path in state.waiting or fact.path in state.ready
        return waits and _has_input(step, fact) and isinstance(step.step, Child) is bool(fact.child_id)
    if fact.path.endswith(COMPENSATION):
        return _is_next_to_undo(state, fact.path) and fact.input is not None
    kind = _kind_of(state, fact.path)
    return fact.input is not None and (kind is Child if fact.child_id else kind is Call)


def _has_input(step: StepState, fact: e.AttemptStarted) -> bool:
    return step.input is not None or fact.input is not None


def _is_next_to_undo(state: ExecutionState, path: str) -> bool:
    return (
        state.compensating
        and state.undoing is None
        and any(step.path + COMPENSATION == path for step in state.undoable)
    )


def _kind_of(state: ExecutionState, path: str) -> type | None:
    """Of a step whose turn has come."""
    for queue in (state.to_begin, state.ready):
        if path in queue:
            scope, index = queue[path]
            return type(scope.steps[index])
    return None


def _of_open_attempt(state: ExecutionState, fact: e.AttemptSucceeded | e.StepBlocked | e.StepUnblocked) -> bool:
    step = state.open_attempts.get(fact.path)
    return step is not None and step.attempts == fact.attempt


def _attempt_failed(state: ExecutionState, fact: e.AttemptFailed) -> bool:
    return _of_open_attempt(state, fact) and fact.next_at >= 0 and fact.incident in _INCIDENTS  # type: ignore[arg-type]


def _incident_opened(state: ExecutionState, fact: e.IncidentOpened) -> bool:
    return fact.path in state.waiting or _kind_of(state, fact.path) is not None


def _incident_resolved(state: ExecutionState, fact: e.IncidentResolved) -> bool:
    return fact.path in state.incidents and fact.action in _ACTIONS


def _group_started(state: ExecutionState, fact: e.GroupStarted) -> bool:
    if fact.path not in state.to_begin:
        return False
    scope, index = state.to_begin[fact.path]
    step = scope.steps[index]
    if step.itemwise:
        fits = 0 <= fact.count <= MAX_ITEMS and _count_of(fact) == fact.count
    else:
        fits = fact.items is None and not fact.count
    return fits and isinstance(step, Group) and step.may_open(fact.branches)


def _count_of(fact: e.GroupStarted) -> int:
    items = fact.items.value() if fact.items is not None else None
    return len(items) if isinstance(items, list) else -1


def _group_ends(state: ExecutionState, path: str) -> bool:
    group = state.steps.get(path)
    return group is not None and not group.status.final and group.branches is not None and not group.branches.open


def _group_succeeded(state: ExecutionState, fact: e.GroupSucceeded) -> bool:
    group = state.steps.get(fact.path)
    judged = group is None or not group.step.rounds or group.verdict is not None
    return judged and _group_ends(state, fact.path)


def _round_started(state: ExecutionState, fact: e.RoundStarted) -> bool:
    loop = state.waits.get(fact.path)
    return loop is not None and loop.branches is not None and fact.index == loop.branches.next


def _round_judged(state: ExecutionState, fact: e.RoundJudged) -> bool:
    loop = state.steps.get(fact.path)
    if loop is None or not loop.step.rounds or not _group_ends(state, fact.path):
        return False
    branches = loop.branches
    assert branches is not None
    last = fact.done or fact.index + 1 == branches.count
    is_next = loop.verdict is None and not branches.failures and fact.index == branches.next - 1 < branches.ended
    return is_next and fact.next_at >= 0 and last is (fact.next_at == 0)


def _wait_started(state: ExecutionState, fact: e.WaitStarted) -> bool:
    return _kind_of(state, fact.path) is Wait and fact.until >= 0


def _wait_ended(state: ExecutionState, fact: e.WaitEnded) -> bool:
    step = state.waits.get(fact.path)
    if step is None or step.waits is None:
        return False
    return not fact.signal or any(fact.signal == number for number, _ in state.signals.get(step.waits.signal, ()))


def _step_failed(state: ExecutionState, fact: e.StepFailed) -> bool:
    if fact.path.endswith(COMPENSATION) and fact.path not in state.steps:
        return _is_next_to_undo(state, fact.path)
    return fact.path in state.to_set or _may_end(state, fact.path)


def _may_end(state: ExecutionState, path: str) -> bool:
    """Whether nothing is under way in the step: it has not begun, waits, or its branches have ended."""
    return any(path in queue for queue in _queues(state)) or _group_ends(state, path)


def _ends_early(state: ExecutionState, fact: e.StepSkipped | e.StepCancelled) -> bool:
    return _may_end(state, fact.path)


def _stop_requested(state: ExecutionState, fact: e.StopRequested) -> bool:
    if not fact.path:
        return state.stopping is None
    group = state.steps.get(fact.path)
    if group is None or group.step.rounds:  # nobody stops one early: it has no second branch
        return False
    return group.branches is not None and not group.status.final and group.stopping is None


def _variables_set(state: ExecutionState, fact: e.VariablesSet) -> bool:
    return fact.path in state.to_set if fact.path else not state.vars_set


def _effect_taken(state: ExecutionState, fact: e.EffectTaken) -> bool:
    step = state.definition.step_at(fact.path)
    return isinstance(step, Call) and step.compensate is not None and fact.origin_path not in state.effects


def _compensation_started(state: ExecutionState, fact: e.CompensationStarted) -> bool:
    return not (state.compensating or state.open_attempts or state.waiting or state.waits)


def _signal_received(state: ExecutionState, fact: e.SignalReceived) -> bool:
    return bool(fact.name) and fact.signal_id not in state.signal_ids


_CHECKS: Mapping[type, Check] = {
    e.ExecutionStarted: _started,
    e.ExecutionAdmitted: lambda state, fact: state.queued,
    e.ExecutionFailed: _failed,
    e.ExecutionPaused: lambda state, fact: state.pause is not None,
    e.SignalReceived: _signal_received,
    e.VariablesSet: _variables_set,
    e.EffectTaken: _effect_taken,
    e.AttemptStarted: _attempt_started,
    e.AttemptSucceeded: _of_open_attempt,
    e.AttemptFailed: _attempt_failed,
    e.StepBlocked: _of_open_attempt,
    e.StepUnblocked: _of_open_attempt,
    e.IncidentOpened: _incident_opened,
    e.IncidentResolved: _incident_resolved,
    e.GroupStarted: _group_started,
    e.RoundStarted: _round_started,
    e.RoundJudged: _round_judged,
    e.GroupSucceeded: _group_succeeded,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _wait_ended,
    e.StepFailed: _step_failed,
    e.StepSkipped: _ends_early,
    e.StepCancelled: _ends_early,
    e.StopRequested: _stop_requested,
    e.CompensationStarted: _compensation_started,
}
"""Kinds that are not here may stand anywhere between the start and the end."""
