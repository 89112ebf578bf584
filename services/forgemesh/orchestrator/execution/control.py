"""What people may do to an execution, and in which states: requests become facts, or are refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Literal

from forgemesh.faults import control as control_faults, workflow
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.attempts import failed
from forgemesh.orchestrator.execution.compensation import left_to_do
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import Payload, check_size

MAX_SIGNALS = 10_000
"""Signals that an execution holds and no step has taken."""


class Action(Enum):
    """What can be asked for, as the past participle that a refusal needs."""

    PAUSE = "paused"
    RESUME = "resumed"
    CANCEL = "cancelled"
    TERMINATE = "terminated"
    SIGNAL = "signalled"
    RESOLVE = "resolved"
    DELETE = "deleted"
    FORK = "forked"


_OPEN = frozenset(status for status in Status if not status.final)
_ENDED = frozenset(Status) - _OPEN
_GOING_ON = frozenset({Status.QUEUED, Status.RUNNING, Status.PAUSING, Status.PAUSED})

LEGAL: Mapping[Action, frozenset[Status]] = {
    Action.PAUSE: _GOING_ON,
    Action.RESUME: _GOING_ON,
    Action.CANCEL: _OPEN - {Status.COMPENSATING},
    Action.TERMINATE: _OPEN,
    Action.SIGNAL: _OPEN - {Status.COMPENSATING},
    Action.RESOLVE: _GOING_ON,
    Action.DELETE: _ENDED,
    Action.FORK: frozenset(Status)
    - {Status.QUEUED, Status.COMPENSATING, Status.COMPENSATED, Status.COMPENSATION_FAILED},
}
"""
In which states what may be asked for. Beyond that, a request that is on record, word for word, is answered in every
state: its answer may have been lost. The same request with other words is another one.
"""


def check(state: ExecutionState, action: Action) -> None:
    """Raises faults.control.ExecutionState if `action` is not legal now."""
    check_status(state.execution_id, state.status, action)


def check_status(execution_id: str, status: Status, action: Action) -> None:
    """The same for an execution of which only the status is known."""
    if status not in LEGAL[action]:
        hint = _hint(execution_id, status, action)
        raise control_faults.ExecutionState(execution_id, action.value, status.value, hint)


_UNDOING: Mapping[Status, str] = {
    Status.COMPENSATING: "what it did is being undone",
    Status.COMPENSATED: "what it did is undone",
    Status.COMPENSATION_FAILED: "what it did is undone in part, and the rest is left to do",
}
"""Why there is nothing to fork."""


def _hint(execution_id: str, status: Status, action: Action) -> str:
    if action is Action.FORK and status in _UNDOING:
        return f"{_UNDOING[status]}; start it anew, see `forgemesh execution show {execution_id}`"
    if action is Action.DELETE:
        return f"wait for its end, or end it with `forgemesh execution terminate {execution_id}`"
    if status.final:
        return f"start from one of its checkpoints with `forgemesh execution fork {execution_id}`"
    if status is Status.COMPENSATING:
        return f"let it undo what it did, or end it as it is with `forgemesh execution terminate {execution_id}`"
    return f"see what it does with `forgemesh execution explain {execution_id}`"


def pause(state: ExecutionState, request: e.PauseRequested) -> tuple[e.Fact, ...]:
    """Nothing new starts. Another pause adds to the one that holds: it may interrupt, or hold the clock."""
    check(state, Action.PAUSE)
    return (request,) if request != state.pause_asked else ()


def resume(state: ExecutionState, by: str) -> tuple[e.Fact, ...]:
    """It goes on, whoever has paused it, and however often. Who asks for that when nothing holds is on record too."""
    check(state, Action.RESUME)
    request = e.ExecutionResumed(by)
    return (request,) if state.pause is not None or request != state.resumed else ()


def pause_with_parent(state: ExecutionState, request: e.PauseRequested) -> tuple[e.Fact, ...]:
    """A child pauses when its parent does; a pause of its own stays beside that."""
    check(state, Action.PAUSE)
    earlier = state.inherited_pause
    if earlier is not None and (earlier.interrupt or not request.interrupt):
        return ()
    return (e.PauseRequested(request.by, request.reason, request.interrupt, request.hold_clock, inherited=True),)


def resume_with_parent(state: ExecutionState, by: str) -> tuple[e.Fact, ...]:
    """A child goes on when its parent does, unless it was paused for itself as well."""
    return (e.ExecutionResumed(by, inherited=True),) if state.inherited_pause is not None else ()


def cancel(state: ExecutionState, by: str, reason: str) -> tuple[e.Fact, ...]:
    """It stops, and undoes what it did; the first who asked for that is its cause."""
    request = e.CancelRequested(by, reason)
    if request in state.cancels:
        return ()
    check(state, Action.CANCEL)
    return (request,)


def terminate(state: ExecutionState, by: str, reason: str) -> tuple[e.Fact, ...]:
    """It ends at once; what it did stays."""
    if state.ended is Status.TERMINATED and state.failure is not None:
        said = state.failure.metadata
        if (said.get("by"), said.get("why")) == (by, reason):  # not its id, which another one may have got since
            return ()
    check(state, Action.TERMINATE)
    failure = failure_of(control_faults.ExecutionTerminated(state.execution_id, by, reason))
    return (e.ExecutionFailed(failure, "TERMINATED", (*left_to_do(state), *state.left_by_children)),)


def signal(state: ExecutionState, request: e.SignalReceived) -> tuple[e.Fact, ...]:
    """
    It is kept until a step waits for it; one with an id that has come before is not.

    Raises SignalIdReused if that one said something else.
    """
    if request.signal_id and request.signal_id in state.signal_ids:
        _, content = state.signal_ids[request.signal_id]
        if content != e.content_of(request):
            raise control_faults.SignalIdReused(state.execution_id, request.signal_id)
        return ()
    check(state, Action.SIGNAL)
    check_size(request.payload, f"the signal {request.name!r}")
    if sum(len(kept) for kept in state.signals.values()) >= MAX_SIGNALS:
        raise control_faults.TooManySignals(state.execution_id, MAX_SIGNALS)
    return (request,)


def resolve(
    state: ExecutionState,
    path: str,
    action: Literal["retry", "complete", "fail"],
    payload: Payload | None,
    by: str,
    reason: str,
) -> tuple[e.Fact, ...]:
    """What becomes of a step that waits for a person; raises faults.control.NoIncident if it does not."""
    request = e.IncidentResolved(path, action, payload, by, reason)
    if path not in state.incidents and state.resolved.get(path) == request:
        return ()
    check(state, Action.RESOLVE)
    if path not in state.incidents:
        raise control_faults.NoIncident(state.execution_id, path, list(state.incidents))
    if payload is not None:
        check_size(payload, f"what {path!r} goes on with")
    return (request,)


def unsent(state: ExecutionState, path: str, now: int) -> e.Fact | None:
    """An attempt that had not left yet when the execution was paused is taken back and does not count."""
    step = state.open_attempts.get(path)
    if step is None:
        return None
    failure = failure_of(workflow.Cancelled(path), step_path=path)
    return failed(state, path, step.attempts, failure, None, now, 0.0)
