"""Attempts at a step: what their ends mean, and what comes after them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from forgemesh.faults import workflow
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.doubt import Doubt
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fate import is_unknown
from forgemesh.orchestrator.execution.state import ExecutionState, StepState, StepStatus
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import MAX_INPUT, Payload
from forgemesh.orchestrator.values.retry import FAILOVER, SECOND, RetryRule, was_put_off
from forgemesh.orchestrator.workflow.definition import (
    COMPENSATION,
    Call,
    CallTerms,
    Child,
    declared,
)
from forgemesh.orchestrator.workflow.provider import OperationFacts

MAX_ID = 200
DIGEST = 16
"""Digits of a digest in a child's id."""


def terms_of(state: ExecutionState, step: StepState) -> CallTerms:
    """What counts for a call, or for the compensation of one."""
    path = declared(step.path)
    return state.definition.call_terms[path if step.compensates is None else path + COMPENSATION]


def is_vouched(step: StepState) -> bool:
    """Whether the step itself says if a call is safe to repeat; of a compensation only its operation says it."""
    return step.compensates is None and isinstance(step.step, Call) and step.step.idempotent is not None


def doubts_of(state: ExecutionState, step: StepState) -> frozenset[Doubt]:
    """
    Where attempts at a call may have had their effect, so that it matters where it is repeated: not if the step says
    that it may be repeated, or is to be repeated all the same.
    """
    assert isinstance(step.step, Call)
    if not step.doubts or is_vouched(step) or step.step.in_doubt == "retry":
        return _NOWHERE
    named = terms_of(state, step).target.plugin_id
    return frozenset(Doubt(doubt.plugin_id or named, doubt.version) for doubt in step.doubts)


_NOWHERE: frozenset[Doubt] = frozenset()


def _retry_of(step: StepState) -> RetryRule:
    assert isinstance(step.step, Call | Child)
    if step.compensates is not None and isinstance(step.step, Call) and step.step.compensate is not None:
        return step.step.compensate.retry
    return step.step.retry


def child_id(state: ExecutionState, path: str, attempt: int) -> str:
    """
    Of the execution that a workflow step starts, so that a start that is repeated after a crash is the same one.

    The digest decides, and says which run it belongs to: another run that gets the parent's id has other children. What
    stands before it is for people.
    """
    told = f"{state.execution_id}.{path.replace('/', '.')}.{attempt}"
    digest = hashlib.sha256("\0".join((state.run_id, state.execution_id, path, str(attempt))).encode()).hexdigest()
    return f"{told[: MAX_ID - DIGEST - 1]}-{digest[:DIGEST]}"


def next_attempt(state: ExecutionState, step: StepState) -> e.Fact:
    """Another try at a step whose pause is over."""
    number = step.attempts + 1
    child = child_id(state, step.path, number) if isinstance(step.step, Child) else ""
    before = step.started
    return e.AttemptStarted(
        step.path, number, None, before.cache_key if before else "", before.affinity if before else "", child
    )


def succeeded(
    state: ExecutionState, path: str, attempt: int, output: Payload, dispatch: Dispatch | None
) -> e.Fact | None:
    """What a plugin's answer means; None if that attempt is not open any more."""
    if not _is_open(state, path, attempt):
        return None
    if output.size > MAX_INPUT:
        fault = workflow.PayloadTooLarge(f"the output of {path!r}", output.size, MAX_INPUT)
        return failed(state, path, attempt, failure_of(fault), dispatch, 0, 0.0)
    return e.AttemptSucceeded(path, attempt, output, dispatch)


def failed(
    state: ExecutionState,
    path: str,
    attempt: int,
    failure: Failure,
    dispatch: Dispatch | None,
    now: int,
    draw: float,
    details: Payload | None = None,
    *,
    told: bool = True,
    said: OperationFacts | None = None,
) -> e.Fact | None:
    """
    What a failed attempt means; None if that attempt is not open any more.

    `draw` in [0, 1) spreads the next one, `details` are what this one last said of itself, and `told` is whether the
    plugin itself says that it failed (see fate.py). `said` is what the manifest of the version that was called says; if
    that is not known, what was published when the definition was registered counts.
    """
    if not _is_open(state, path, attempt):
        return None
    step = state.steps[path]
    unknown = is_unknown(failure, dispatch, told=told)
    fact = e.AttemptFailed(path, attempt, failure.at(path), dispatch, details=details, fate_unknown=unknown)
    if step.compensates is None and state.is_stopping(step.scope):
        return _stopped(fact)
    if (state.pause is not None or state.queued) and failure.reason == workflow.Cancelled.reason:
        failure = failure_of(workflow.Interrupted(path), retryable=True, step_path=path)
        fact = _with(fact, failure=failure, next_at=max(now, 1))
    else:
        fact = _followed(state, step, fact, now, draw)
    return _doubted(state, step, fact, said)


def _stopped(fact: e.AttemptFailed) -> e.AttemptFailed:
    if fact.failure.reason not in FAILOVER:
        return fact
    failure = failure_of(workflow.Cancelled(fact.path), step_path=fact.path)
    return _with(fact, failure=replace(failure, metadata=fact.failure.metadata))


def _followed(state: ExecutionState, step: StepState, fact: e.AttemptFailed, now: int, draw: float) -> e.AttemptFailed:
    """The same fact with when the next attempt is due, if there is to be one."""
    lost = step.lost + (fact.failure.reason in FAILOVER)
    counted = step.attempts - lost - step.spent
    gone = lost if was_put_off(fact.failure) else lost - step.unmade
    delay = _retry_of(step).delay(fact.failure, counted, gone, draw)
    if delay is None:
        return _exhausted(step, fact)
    next_at = max(now, 1) + int(delay * SECOND)
    for limit, name in ((state.deadline, "the execution's timeout"), (step.close_at, "the step's schedule_to_close")):
        if limit and next_at >= limit and not state.compensating:
            late = f"{fact.failure.message}; no further attempt, since it would come after {name}"
            return _exhausted(step, _with(fact, failure=replace(fact.failure, message=late)))
    return _with(fact, next_at=next_at)


def _exhausted(step: StepState, fact: e.AttemptFailed) -> e.AttemptFailed:
    if step.compensates is None and isinstance(step.step, Call | Child) and step.step.on_exhausted == "incident":
        return _with(fact, incident="EXHAUSTED")
    return fact


def _doubted(
    state: ExecutionState, step: StepState, fact: e.AttemptFailed, said: OperationFacts | None = None
) -> e.AttemptFailed:
    """
    A call that must not be repeated blindly is not, while it may have had its effect.

    A compensation waits for nobody: what it leaves undone is in the list with which its execution ends.
    """
    call = step.step
    if not fact.fate_unknown or not isinstance(call, Call):
        return fact
    if is_idempotent(state, step, said) is not False or call.in_doubt == "retry":
        return fact
    failure = failure_of(workflow.InDoubt(step.path, step.attempts, fact.failure.message), step_path=step.path)
    incident = "IN_DOUBT" if call.in_doubt == "manual" and step.compensates is None else ""
    return _with(fact, failure=failure.with_causes((fact.failure,)), next_at=0, incident=incident)


def is_idempotent(state: ExecutionState, step: StepState, said: OperationFacts | None = None) -> bool | None:
    """
    Whether the call, or the compensation of it, is safe to repeat; None if nobody says. `said` is what the manifest of
    the version that was called says, None if that is not known.
    """
    terms = terms_of(state, step)
    return terms.idempotent if terms.vouched or said is None else said.idempotent


def close_timeout(state: ExecutionState, step: StepState) -> e.Fact:
    """The step has taken longer than its schedule_to_close, attempts and pauses together."""
    assert isinstance(step.step, Call)
    seconds = step.step.timeouts.schedule_to_close or 0.0
    failure = failure_of(workflow.ScheduleToCloseTimeout(step.path, seconds), step_path=step.path)
    if step.path not in state.open_attempts:
        return (e.IncidentOpened if step.step.on_exhausted == "incident" else e.StepFailed)(step.path, failure)
    sent = step.status is not StepStatus.BLOCKED
    failure = replace(failure, metadata={**failure.metadata, "sent": str(sent).lower()})
    fact = e.AttemptFailed(step.path, step.attempts, failure, None, fate_unknown=sent)
    if state.is_stopping(step.scope):
        return fact
    return _doubted(state, step, _exhausted(step, fact))


def _with(fact: e.AttemptFailed, **changes: object) -> e.AttemptFailed:
    known = {name: getattr(fact, name) for name in fact.__struct_fields__}
    return e.AttemptFailed(**(known | changes))


def _is_open(state: ExecutionState, path: str, attempt: int) -> bool:
    step = state.open_attempts.get(path)
    return step is not None and step.attempts == attempt
