"""Where an execution stands: what has been asked of the whole, and how it ended."""

from __future__ import annotations

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.legality import MAY_FOLLOW
from forgemesh.orchestrator.execution.state import ExecutionState, Status


def derived_status(state: ExecutionState) -> Status:
    """
    Where an execution stands, from what is on record about it, the strongest first: its end, what is being undone, what
    stops it, a pause, the queue.
    """
    if state.ended is not None:
        return state.ended
    if state.compensating:
        return Status.COMPENSATING
    if state.cancels or state.stopping is not None:
        return Status.CANCELLING
    if state.pause is not None:
        return Status.PAUSED if state.rests else Status.PAUSING
    return Status.QUEUED if state.queued else Status.RUNNING


def stand(state: ExecutionState) -> None:
    """Something on record has changed that decides where it stands."""
    status = derived_status(state)
    state.status, state.follows = status, MAY_FOLLOW[status]


def pause_requested(state: ExecutionState, fact: e.PauseRequested, at: int) -> None:
    """Nothing new starts."""
    held = state.clock_held
    if state.pause is None:
        state.paused_at, state.rests = at, False
    if fact.inherited:
        state.inherited_pause = _added(state.inherited_pause, fact)
    else:
        state.own_pause, state.pause_asked = _added(state.own_pause, fact), fact
    _hold(state, held, at)


def _hold(state: ExecutionState, held: bool, at: int) -> None:
    """What holds it follows from its own pauses and its parent's; whether its clock stands still, from both."""
    own, inherited = state.own_pause, state.inherited_pause
    state.pause = _added(inherited, own) if own is not None else inherited
    if state.clock_held and not held:
        state.held_at = at
    elif held and not state.clock_held and state.deadline:
        state.deadline += at - state.held_at
    stand(state)


def _added(before: e.PauseRequested | None, fact: e.PauseRequested) -> e.PauseRequested:
    """Two pauses as one: what either of them holds is held, and who said a word last is who paused it."""
    if before is None:
        return fact
    who = fact if fact.by or fact.reason else before
    return e.PauseRequested(
        who.by, who.reason, before.interrupt or fact.interrupt, before.hold_clock or fact.hold_clock
    )


def execution_paused(state: ExecutionState, fact: e.ExecutionPaused, at: int) -> None:
    """Nothing is in flight any more."""
    state.rests = True
    stand(state)


def execution_resumed(state: ExecutionState, fact: e.ExecutionResumed, at: int) -> None:
    """It goes on; its timeout has stood still if a pause held it. That its parent goes on lifts no pause of its own."""
    held = state.clock_held
    state.inherited_pause = None
    if not fact.inherited:
        state.own_pause, state.pause_asked, state.resumed = None, None, fact
    _hold(state, held, at)


def lift_pauses(state: ExecutionState) -> None:
    """It is ending, and nothing keeps it from that."""
    state.pause = state.own_pause = state.inherited_pause = state.pause_asked = None


def cancel_requested(state: ExecutionState, fact: e.CancelRequested, at: int) -> None:
    """It is to stop; that lifts a pause."""
    state.cancels += (fact,)
    lift_pauses(state)
    stand(state)


def close(state: ExecutionState, status: Status, at: int) -> None:
    """Nothing is to be done about it any more."""
    state.ended, state.ended_at, state.queued = status, at, False
    lift_pauses(state)
    stand(state)
    for what_is_left in (
        state.to_begin,
        state.ready,
        state.to_skip,
        state.to_settle,
        state.to_set,
        state.open_attempts,
        state.waiting,
        state.waits,
        state.listening,
        state.incidents,
        state.wakes,
        state.moments,
    ):
        what_is_left.clear()
