"""
The facts of an execution's history; what each guarantees stands in orchestrator/v1/event.proto.

They are structs and not dataclasses because several are made for every step, and a frozen dataclass takes ten times
as long to make.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from forgemesh.orchestrator.domain.failure import Failure
from forgemesh.orchestrator.domain.payload import Payload


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
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
    accepted: bool = True


class ExecutionStarted(msgspec.Struct, frozen=True, kw_only=True):
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


class ExecutionSucceeded(msgspec.Struct, frozen=True):
    output: Payload


class ExecutionFailed(msgspec.Struct, frozen=True):
    failure: Failure


class ExecutionRecovered(msgspec.Struct, frozen=True):
    orchestrator_id: str
    epoch: int


class AttemptStarted(msgspec.Struct, frozen=True):
    """`input` is set at the first try only."""

    path: str
    attempt: int
    input: Payload | None = None


class AttemptSucceeded(msgspec.Struct, frozen=True):
    path: str
    attempt: int
    output: Payload
    dispatch: Dispatch


class AttemptFailed(msgspec.Struct, frozen=True):
    """`next_at` is Unix time in nanoseconds; 0 means that the step has ended."""

    path: str
    attempt: int
    failure: Failure
    dispatch: Dispatch | None
    next_at: int = 0


class StepBlocked(msgspec.Struct, frozen=True):
    path: str
    attempt: int
    reason: str
    message: str


class StepUnblocked(msgspec.Struct, frozen=True):
    path: str
    attempt: int


class GroupStarted(msgspec.Struct, frozen=True):
    path: str
    branches: tuple[str, ...]


class GroupSucceeded(msgspec.Struct, frozen=True):
    path: str


class StepFailed(msgspec.Struct, frozen=True):
    path: str
    failure: Failure


class StepSkipped(msgspec.Struct, frozen=True):
    path: str
    reason: str


class StepCancelled(msgspec.Struct, frozen=True):
    path: str


class StopRequested(msgspec.Struct, frozen=True):
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


class Event(msgspec.Struct, frozen=True):
    """A fact with its place in the history: `sequence` from 1 without gaps, `at` in Unix nanoseconds."""

    sequence: int
    at: int
    fact: Fact
