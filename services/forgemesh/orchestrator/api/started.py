"""What became of many starts, as one answer: a handle of each, and as much more as a message has room for."""

from __future__ import annotations

from collections.abc import Callable

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.chassis.pages import MAX_BYTES, size_in_list
from forgemesh.orchestrator.execution.commands.bulk import StartOutcome
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.wire.payloads import failure_to_message

REFUSAL_BYTES = 2048
"""Of why one of many was refused."""
BRIEF_BYTES = 3072
"""That one of many takes at most if all that may be left out is."""
_HANDLE = frozenset({"namespace", "execution_id", "run_id", "workflow", "workflow_version", "trace_id"})
_STANDING = frozenset({"status", "started_at", "ended_at", "sequence", "priority"})


class StartedAnswer:
    """
    Filled as the starts come to their ends, in the order of the requests.

    What comes when there is no room left is left out and said to be: every execution comes back as a handle at least.
    """

    def __init__(self, requests: int, message: Callable[[ExecutionState], execution_pb2.Execution]) -> None:
        self.response = pb.StartExecutionsResponse()
        for _ in range(requests):
            self.response.results.add()
        self._message = message
        self._room = MAX_BYTES - requests * BRIEF_BYTES

    def tell(self, number: int, outcome: StartOutcome) -> None:
        """What became of one request."""
        result = self.response.results[number]
        self._room += BRIEF_BYTES
        fill_in(result, outcome, self._message)
        size = size_in_list(result)
        if size > self._room and not isinstance(outcome, Failure):
            _leave_out(result.started.execution)
            size = size_in_list(result)
        self._room -= size


def fill_in(
    result: pb.StartExecutionsResult,
    outcome: StartOutcome,
    message: Callable[[ExecutionState], execution_pb2.Execution],
) -> None:
    """What became of one request, whole."""
    if isinstance(outcome, Failure):
        result.refused.CopyFrom(failure_to_message(outcome.brief(REFUSAL_BYTES)))
    else:
        result.started.created = outcome[1]
        result.started.execution.CopyFrom(message(outcome[0]))


def _leave_out(execution: execution_pb2.Execution) -> None:
    for field in execution.DESCRIPTOR.fields:
        if field.name not in _HANDLE | _STANDING:
            execution.ClearField(field.name)  # type: ignore[arg-type]
    execution.left_out = True
