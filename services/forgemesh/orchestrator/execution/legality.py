"""Which kinds of facts may follow where an execution stands: a producer that makes another one has not looked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status

_EVERY: frozenset[type] = frozenset(get_args(e.Fact)) - {e.ExecutionStarted}
_BEGINNINGS: frozenset[type] = frozenset(
    {e.AttemptStarted, e.GroupStarted, e.WaitStarted, e.IncidentOpened, e.RoundStarted}
)
"""Of steps, of further attempts at them, and of further rounds."""
_OF_STEPS: frozenset[type] = _BEGINNINGS | {
    e.AttemptSucceeded,
    e.AttemptFailed,
    e.StepBlocked,
    e.StepUnblocked,
    e.IncidentResolved,
    e.RoundJudged,
    e.GroupSucceeded,
    e.WaitEnded,
    e.StepFailed,
    e.StepSkipped,
    e.VariablesSet,
}
_STANDING: frozenset[type] = frozenset({e.ExecutionAdmitted, e.ExecutionPaused})
_REQUESTS: frozenset[type] = frozenset({e.PauseRequested, e.ExecutionResumed, e.IncidentResolved})
"""Of people, as long as it goes on."""
_ENDS: frozenset[type] = frozenset({e.ExecutionSucceeded, e.CompensationStarted})

_LEFT_OPEN: frozenset[type] = frozenset({e.AttemptSucceeded, e.AttemptFailed, e.IncidentResolved})
"""Of what an import had begun where it had a place."""

MAY_FOLLOW: Mapping[Status, frozenset[type]] = {
    Status.QUEUED: (_EVERY - _OF_STEPS - _ENDS - {e.ExecutionPaused}) | _LEFT_OPEN,
    Status.RUNNING: _EVERY - _STANDING,
    Status.PAUSING: _EVERY - _BEGINNINGS - _ENDS - {e.WaitEnded},
    Status.PAUSED: _EVERY - _BEGINNINGS - _ENDS - {e.WaitEnded, e.ExecutionPaused},
    Status.CANCELLING: _EVERY
    - _BEGINNINGS
    - _REQUESTS
    - _STANDING
    - {e.ExecutionSucceeded, e.ResultTaken, e.RoundJudged},
    Status.COMPENSATING: _EVERY
    - _REQUESTS
    - _STANDING
    - _ENDS
    - {e.CancelRequested, e.StopRequested, e.GroupStarted, e.WaitStarted, e.SignalReceived, e.ResultTaken}
    - {e.RoundStarted, e.RoundJudged},
} | {status: frozenset[type]() for status in Status if status.final}
"""By where it stands. Stored histories are not held to this, but for their end: older versions made some others."""
