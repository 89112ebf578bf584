"""Events in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.retry import SECOND

_INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def kind_of(fact: e.Fact) -> str:
    """The name of a fact's kind as programs know it: attempt_started."""
    return _INNER_CAPITAL.sub("_", type(fact).__name__).lower()


def told(event: e.Event) -> str:
    """What happened, in a few words; where it happened is not said again."""
    tell = _TELLERS.get(type(event.fact))
    return tell(event.fact, event.at) if tell is not None else kind_of(event.fact).replace("_", " ")


def _failed(failure: Failure | None) -> str:
    return f"{failure.reason}, {failure.message}" if failure is not None else "enough has succeeded"


def _in(moment: int, now: int) -> str:
    return f"in {max(0, moment - now) / SECOND:g} s"


def _by(who: str) -> str:
    return f" by {who}" if who else ""


def _execution_failed(fact: e.ExecutionFailed, at: int) -> str:
    left = f"; not undone: {', '.join(fact.left_to_do)}" if fact.left_to_do else ""
    return f"execution ended as {fact.status or 'FAILED'}: {_failed(fact.failure)}{left}"


def _attempt_started(fact: e.AttemptStarted, at: int) -> str:
    return f"attempt {fact.attempt} started" + (f": execution {fact.child_id}" if fact.child_id else "")


def _attempt_succeeded(fact: e.AttemptSucceeded, at: int) -> str:
    where = f" at {fact.dispatch.instance_id}" if fact.dispatch is not None else ""
    return f"attempt {fact.attempt} succeeded{where}"


def _attempt_failed(fact: e.AttemptFailed, at: int) -> str:
    following = f"; next {_in(fact.next_at, at)}" if fact.next_at else ""
    person = f"; waits for a person ({fact.incident})" if fact.incident else ""
    return f"attempt {fact.attempt} failed: {_failed(fact.failure)}{following}{person}"


def _group_started(fact: e.GroupStarted, at: int) -> str:
    branches = ", ".join(fact.branches) or fact.count
    return f"group started: {branches}" if branches or fact.items is not None else "loop started"


def _round_judged(fact: e.RoundJudged, at: int) -> str:
    if fact.next_at:
        return f"round {fact.index} judged: the next one {_in(fact.next_at, at)}"
    return f"round {fact.index} judged: {'it is the last' if fact.done else 'there may be no further one'}"


def _wait_started(fact: e.WaitStarted, at: int) -> str:
    what = f"waits for the signal {fact.signal!r}" if fact.signal else "waits"
    return f"{what}, until a moment {_in(fact.until, at)}" if fact.until else what


def _wait_ended(fact: e.WaitEnded, at: int) -> str:
    return f"got the signal of event {fact.signal}" if fact.signal else "its time has come"


def _owned(owner: str) -> str:
    return f"; its effect is that of {owner}" if owner else ""


def _named(fact: e.VariablesSet, at: int) -> str:
    return f"set {', '.join(fact.values)}" if fact.values else "set nothing"


def _refused(fact: e.ChildCommandRefused, at: int) -> str:
    return f"its child {fact.child_id} refused to {fact.command}: {fact.failure.message}"


_TELLERS: Mapping[type, Callable[[Any, int], str]] = {
    e.ExecutionStarted: lambda fact, at: f"execution of {fact.workflow} {fact.workflow_version} started",
    e.ExecutionFailed: _execution_failed,
    e.ExecutionRecovered: lambda fact, at: f"orchestrator {fact.orchestrator_id} took it up again",
    e.PauseRequested: lambda fact, at: f"pause asked for{' by its parent' if fact.inherited else _by(fact.by)}",
    e.ExecutionResumed: lambda fact, at: f"execution resumed{' by its parent' if fact.inherited else _by(fact.by)}",
    e.CancelRequested: lambda fact, at: f"cancellation asked for{_by(fact.by)}",
    e.SignalReceived: lambda fact, at: f"signal {fact.name!r} received{_by(fact.by)}",
    e.VariablesSet: _named,
    e.ResultTaken: lambda fact, at: f"result taken from the origin{_owned(fact.owner)}",
    e.EffectTaken: lambda fact, at: "its effect is this execution's from now on",
    e.AttemptStarted: _attempt_started,
    e.AttemptSucceeded: _attempt_succeeded,
    e.AttemptFailed: _attempt_failed,
    e.StepBlocked: lambda fact, at: f"attempt {fact.attempt} waits: {fact.reason}, {fact.message}",
    e.StepUnblocked: lambda fact, at: f"attempt {fact.attempt} goes on",
    e.IncidentOpened: lambda fact, at: f"waits for a person: {_failed(fact.failure)}",
    e.IncidentResolved: lambda fact, at: f"incident resolved ({fact.action}){_by(fact.by)}",
    e.GroupStarted: _group_started,
    e.RoundStarted: lambda fact, at: f"round {fact.index} started",
    e.RoundJudged: _round_judged,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _wait_ended,
    e.StepFailed: lambda fact, at: f"failed: {_failed(fact.failure)}",
    e.StepSkipped: lambda fact, at: f"skipped: {fact.reason}",
    e.StepCancelled: lambda fact, at: "cancelled",
    e.StopRequested: lambda fact, at: f"ends early: {_failed(fact.failure)}",
    e.ChildCommandRefused: _refused,
    e.ExecutionQueued: lambda fact, at: "waits for a place under its concurrency key again",
    e.CompensationStarted: lambda fact, at: f"compensation started: {_failed(fact.failure)}",
}
