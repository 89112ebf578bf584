"""Whether an open execution can go on: by a timer, an attempt, a wait, a person or a place."""

from __future__ import annotations

from forgemesh.orchestrator.execution.decide import next_wake
from forgemesh.orchestrator.execution.state import ExecutionState


def is_stuck(state: ExecutionState) -> bool:
    """Whether nothing will ever happen to it again although it is open."""
    if state.ended is not None or state.started is None:
        return False
    waits_for_somebody = (
        state.pause is not None
        or state.queued
        or bool(state.open_attempts)
        or bool(state.incidents)
        or any(step.waits is not None and step.waits.signal for step in state.waits.values())
    )
    return not waits_for_somebody and _next_of_steps(state) is None


def _next_of_steps(state: ExecutionState) -> int | None:
    """The next wake other than the timeout of the whole: that one would only end it."""
    wakes = state.wakes or state.moments
    return wakes[0][0] if wakes and next_wake(state) is not None else None
