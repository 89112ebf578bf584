"""What became of many starts, as one answer: a handle of each, and as much more as a message has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.chassis.pages import MAX_BYTES, size_in_list
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.wire.payloads import failure_to_message

REFUSAL_BYTES = 2048
"""Of why one of many was refused."""
BRIEF_BYTES = 3072
"""That one of many takes at most if all that may be left out is."""
_HANDLE = frozenset({"namespace", "execution_id", "run_id", "workflow", "workflow_version", "trace_id"})
_STANDING = frozenset({"status", "started_at", "ended_at", "sequence", "priority"})

Outcome: TypeAlias = tuple[ExecutionState, bool] | Failure


def started_to_message(
    outcomes: Sequence[Outcome], message: Callable[[ExecutionState], execution_pb2.Execution]
) -> pb.StartExecutionsResponse:
    """In order. What does not fit is left out and said to be: every execution comes back as a handle at least."""
    response = pb.StartExecutionsResponse()
    room = MAX_BYTES - len(outcomes) * BRIEF_BYTES
    for outcome in outcomes:
        room += BRIEF_BYTES
        result = response.results.add()  # in its place: a message that is made apart is copied
        if isinstance(outcome, Failure):
            result.refused.CopyFrom(failure_to_message(outcome.brief(REFUSAL_BYTES)))
            room -= size_in_list(result)
            continue
        result.started.created = outcome[1]
        result.started.execution.CopyFrom(message(outcome[0]))
        size = size_in_list(result)
        if size > room:
            _leave_out(result.started.execution)
            size = size_in_list(result)
        room -= size
    return response


def _leave_out(execution: execution_pb2.Execution) -> None:
    for field in execution.DESCRIPTOR.fields:
        if field.name not in _HANDLE | _STANDING:
            execution.ClearField(field.name)  # type: ignore[arg-type]
    execution.left_out = True
