"""The facts of an execution's history; what each guarantees stands in orchestrator/v1/event.proto."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.orchestrator.domain.failure import Failure
from forgemesh.orchestrator.domain.payload import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Where and how a try ran; `at` is Unix time in nanoseconds."""

    instance_id: str
    incarnation: int
    plugin_version: str
    at: int
    policy: str = "round_robin"
    candidates: int = 0
    eligible: int = 0
    excluded: tuple[str, ...] = ()
    session: bool = True
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStarted:
    """`trace_id` and `parent_span_id` are raw bytes; `deadline` is Unix time in nanoseconds, 0 for none."""

    workflow: str
    workflow_version: str
    content_hash: str
    input: Payload
    trace_id: bytes
    parent_span_id: bytes = b""
    sampled: bool = True
    linked_span: str = ""
    deadline: int = 0


@dataclass(frozen=True, slots=True)
class ExecutionSucceeded:
    output: Payload


@dataclass(frozen=True, slots=True)
class ExecutionFailed:
    failure: Failure


@dataclass(frozen=True, slots=True)
class ExecutionRecovered:
    orchestrator_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """`input` is set at the first try only."""

    path: str
    attempt: int
    input: Payload | None = None


@dataclass(frozen=True, slots=True)
class AttemptSucceeded:
    path: str
    attempt: int
    output: Payload
    dispatch: Dispatch


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """`next_at` is Unix time in nanoseconds; 0 means that the step has ended."""

    path: str
    attempt: int
    failure: Failure
    dispatch: Dispatch | None
    next_at: int = 0


@dataclass(frozen=True, slots=True)
class StepBlocked:
    path: str
    attempt: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StepUnblocked:
    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class GroupStarted:
    path: str
    branches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupSucceeded:
    path: str


@dataclass(frozen=True, slots=True)
class StepFailed:
    path: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class StepSkipped:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepCancelled:
    path: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """`path` names a group, or is empty for the whole execution."""

    path: str
    failure: Failure


Fact: TypeAlias = (
    ExecutionStarted
    | ExecutionSucceeded
    | ExecutionFailed
    | ExecutionRecovered
    | AttemptStarted
    | AttemptSucceeded
    | AttemptFailed
    | StepBlocked
    | StepUnblocked
    | GroupStarted
    | GroupSucceeded
    | StepFailed
    | StepSkipped
    | StepCancelled
    | StopRequested
)


@dataclass(frozen=True, slots=True)
class Event:
    """A fact with its place in the history: `sequence` from 1 without gaps, `at` in Unix nanoseconds."""

    sequence: int
    at: int
    fact: Fact
