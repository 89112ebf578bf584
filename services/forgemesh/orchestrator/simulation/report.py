"""What came of an execution, as the line tells it."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.orchestrator.execution.event_text import kind_of, told
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.fold import apply
from forgemesh.orchestrator.execution.state import ExecutionState, StepState, StepStatus
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Definition


def account(definition: Definition, execution_id: str, events: Sequence[Event], now: int) -> dict[str, object]:
    """Status, result, steps and events; `now` (Unix nanoseconds) counts as the end of one that has not ended."""
    state = ExecutionState(definition.namespace, execution_id, definition, remember=True)
    for event in events:
        apply(state, event)
    return {
        "execution_id": execution_id,
        "status": state.status.value,
        "output": _value(state.output),
        "failure": _failure(state.failure),
        "elapsed": ((state.ended_at or now) - state.started_at) / SECOND,
        "left_to_do": state.left_to_do,
        "steps": {path: _step(state, step) for path, step in state.steps.items()},
        "events": [_event(event, state.started_at) for event in events],
    }


def _step(state: ExecutionState, step: StepState) -> dict[str, object]:
    output = state.output_of(step) if step.status is StepStatus.SUCCEEDED else None
    return {
        "status": step.status.value,
        "attempts": step.attempts,
        "output": _value(output),
        "failure": _failure(step.failure),
        "skipped": step.skipped,
    }


def _event(event: Event, started_at: int) -> dict[str, object]:
    return {
        "sequence": event.sequence,
        "at": (event.at - started_at) / SECOND,
        "kind": kind_of(event.fact),
        "step_path": getattr(event.fact, "path", ""),
        "what": told(event),
    }


def _value(payload: Payload | None) -> object:
    return payload.value() if payload is not None else None


def _failure(failure: Failure | None) -> dict[str, object] | None:
    if failure is None:
        return None
    return {
        "code": failure.code.name,
        "reason": failure.reason,
        "message": failure.message,
        "metadata": dict(failure.metadata),
        "retryable": failure.retryable,
        "step_path": failure.step_path,
        "causes": [_failure(cause) for cause in failure.causes],
    }
