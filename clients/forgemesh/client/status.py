"""Where an execution stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus

_PREFIX = "EXECUTION_STATUS_"


class Status(StrEnum):
    """The same as ExecutionStatus of the API, whose comments say what each one means."""

    RUNNING = "running"
    QUEUED = "queued"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPENSATING = "compensating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"

    @classmethod
    def of(cls, execution: Execution) -> Self:
        """That of an execution as it was last seen."""
        return cls[ExecutionStatus.Name(execution.status).removeprefix(_PREFIX)]

    @property
    def final(self) -> bool:
        """Whether the execution has ended."""
        return self in FINAL

    @property
    def number(self) -> ExecutionStatus.ValueType:
        """Its value in the API."""
        return ExecutionStatus.Value(_PREFIX + self.name)

    def __str__(self) -> str:
        """For people: "timed out"."""
        return self.value.replace("_", " ")


FINAL = frozenset(
    {
        Status.SUCCEEDED,
        Status.FAILED,
        Status.CANCELLED,
        Status.TERMINATED,
        Status.TIMED_OUT,
        Status.COMPENSATED,
        Status.COMPENSATION_FAILED,
    }
)
OPEN = frozenset(Status) - FINAL
