"""Why an execution does not move, and when it will: from its state and what is known of its open attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from forgemesh.orchestrator.execution.family import origin_of
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState, StepStatus
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Child

NAMED = 3
"""Executions that a sentence names at most."""
LISTED = 50
"""Hindrances that an answer names at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """See control.proto; `since` and `until` are Unix nanoseconds, 0 for unknown."""

    reason: str
    message: str
    step_path: str = ""
    since: int = 0
    until: int = 0
    instance_id: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One sentence, and everything that the execution waits for, what holds up most first."""

    status: Status
    summary: str
    blockers: tuple[Blocker, ...]


def explain(
    state: ExecutionState,
    now: int,
    known: Mapping[str, Blocker],
    suspended: str,
    ahead: int,
    holders: Sequence[str] = (),
) -> Explanation:
    """
    `known` is what is known of open attempts, by step path; `suspended` why nobody runs the execution, or nothing;
    `ahead` how many are before it for its concurrency key, and `holders` which of them hold its places.
    """
    if state.status.final:
        return Explanation(state.status, f"It has ended: {state.status.value}.", ())
    steps = sorted(_of_steps(state, known), key=lambda one: (_RANK.get(one.reason, 5), one.until or 1 << 62))
    if state.status is Status.PAUSED:
        steps = [replace(one, until=0) for one in steps]  # what comes due takes effect when it is resumed
    found = [*_of_the_whole(state, suspended, ahead, holders), *steps]
    return Explanation(state.status, _summary(state, found, now), tuple(found[:LISTED]))


_RANK = {
    "IN_DOUBT": 0,
    "INCIDENT": 0,
    "SIGNAL": 3,
    "TIMER": 3,
    "CHILD": 3,
    "BACKOFF": 2,
    "CONCURRENCY": 4,
    "RUNNING": 4,
}
"""What holds up most comes first; reasons why no instance takes a call are between."""


def _of_the_whole(state: ExecutionState, suspended: str, ahead: int, holders: Sequence[str]) -> Iterator[Blocker]:
    if suspended:
        yield Blocker(reason="SUSPENDED", message=suspended, since=state.last_at)
    if state.queued:
        key = state.started.concurrency_key if state.started is not None else ""
        who = "1 execution is" if ahead == 1 else f"{ahead} executions are"
        message = f"{who} before it under the concurrency key {key!r}{_held_by(holders)}"
        yield Blocker(reason="QUEUED", message=message, since=state.started_at)
    if state.pause is not None:
        who = f"by {state.pause.by}" if state.pause.by else "by nobody who said a name"
        if state.own_pause is None:
            who = f"with its parent {origin_of(state).parent_id!r}, {who}"
        why = f", because: {state.pause.reason}" if state.pause.reason else ""
        message = f"{who}{why}; let it go on with `forgemesh execution resume {state.execution_id}`"
        yield Blocker(reason="PAUSED", message=message, since=state.paused_at)
    if state.cancel is not None or state.stopping is not None:
        yield Blocker(reason="STOPPING", message="it is ending, and waits for what is still open")


def _held_by(holders: Sequence[str]) -> str:
    """Who has the places, as far as that is worth saying."""
    if not holders:
        return ""
    named = ", ".join(repr(execution_id) for execution_id in holders[:NAMED])
    more = f" and {len(holders) - NAMED} more" if len(holders) > NAMED else ""
    return f"; {named}{more} {'holds its place' if len(holders) == 1 else 'hold its places'}"


def _of_steps(state: ExecutionState, known: Mapping[str, Blocker]) -> Iterator[Blocker]:
    for step in state.incidents.values():
        yield _incident(state, step)
    for step in state.open_attempts.values():
        yield known.get(step.path) or _open(step)
    for step in state.waiting.values():
        cause = step.failure.message if step.failure is not None else "it is tried again"
        message = f"attempt {step.attempts + 1} comes after a pause: {cause}"
        yield Blocker(step_path=step.path, reason="BACKOFF", message=message, since=step.began_at, until=step.next_at)
    for step in state.waits.values():
        yield _wait(state, step)
    for path in state.ready:
        message = f"the execution's max_concurrency of {state.definition.max_concurrency} is reached"
        yield Blocker(step_path=path, reason="CONCURRENCY", message=message)


def _incident(state: ExecutionState, step: StepState) -> Blocker:
    cause = step.failure.message if step.failure is not None else ""
    message = f"{cause}; decide with `forgemesh execution resolve {state.execution_id} {step.path}`"
    return Blocker(step_path=step.path, reason=step.status.value, message=message, since=step.began_at)


def _open(step: StepState) -> Blocker:
    if isinstance(step.step, Child) and step.started is not None:
        message = f"nobody waits for execution {step.started.child_id!r} at the moment; this one is not running"
        return Blocker(step_path=step.path, reason="CHILD", message=message, since=step.began_at)
    if step.status is StepStatus.BLOCKED and step.blocked is not None:
        blocked = step.blocked
        return Blocker(
            step_path=step.path,
            reason=blocked.reason,
            message=blocked.message,
            since=step.blocked_at,
            until=blocked.until,
        )
    return Blocker(step_path=step.path, reason="RUNNING", message="its attempt is on its way", since=step.began_at)


def _wait(state: ExecutionState, step: StepState) -> Blocker:
    waits = step.waits
    if waits is None:
        message, since = "set when the round before it ended; its next round begins then", step.began_at
        return Blocker(step_path=step.path, reason="TIMER", message=message, since=since, until=step.next_at)
    if waits.signal:
        message = f"send it with `forgemesh execution signal {state.execution_id} {waits.signal}`"
        return Blocker(step_path=step.path, reason="SIGNAL", message=message, since=step.began_at, until=waits.until)
    return Blocker(
        step_path=step.path, reason="TIMER", message="set when it began", since=step.began_at, until=waits.until
    )


def _summary(state: ExecutionState, found: list[Blocker], now: int) -> str:
    if not found:
        return "It is moving: its next event is being written."
    first = found[0]
    place = f"Step {first.step_path!r}" if first.step_path else "The execution"
    does = _DOES.get(first.reason, f"is blocked ({first.reason})")
    when = f" (for {_in(first.until, now)} more at most)" if first.until > now else ""
    more = f"; {len(found) - 1} more" if len(found) > 1 else ""
    return f"{place} {does}{when}: {first.message}{more}"


_DOES = {
    "RUNNING": "runs",
    "BACKOFF": "waits before its next attempt",
    "TIMER": "waits for its time",
    "SIGNAL": "waits for a signal",
    "CHILD": "waits for another execution",
    "CONCURRENCY": "waits for a place among the attempts of its execution",
    "QUEUED": "waits for a place under its concurrency key",
    "INCIDENT": "waits for a person",
    "IN_DOUBT": "is in doubt and waits for a person",
    "PAUSED": "is paused",
    "SUSPENDED": "is suspended",
    "STOPPING": "is ending",
}


def _in(moment: int, now: int) -> str:
    seconds = (moment - now) / SECOND
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
