"""A new execution: who asks for it, what is written of it, and what became of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.values.shard import Shard


class IdReuse(Enum):
    """Whether an execution id may be used again after the execution of that id has ended."""

    REJECT_DUPLICATE = "REJECT_DUPLICATE"
    ALLOW_DUPLICATE = "ALLOW_DUPLICATE"
    ALLOW_DUPLICATE_FAILED_ONLY = "ALLOW_DUPLICATE_FAILED_ONLY"


@dataclass(frozen=True, slots=True)
class Request:
    """What a start was asked by: its request id (or nothing), a hash of what it asked for, and if it chose the id."""

    request_id: str
    content: str
    id_chosen: bool
    reuse: IdReuse = IdReuse.REJECT_DUPLICATE
    earlier_content: Callable[[], str] | None = None  # as an older release hashed it, if that can be told


@dataclass(frozen=True, slots=True)
class Wanted:
    """The name that a new execution is to have, and what asks for it."""

    namespace: str
    execution_id: str
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """A start to be written, in the shard to which the execution belongs from then on."""

    shard: Shard
    namespace: str
    execution_id: str
    workflow: str
    workflow_version: str
    started_at: int
    trace_id: str
    request: Request
    standing: Standing
    priority: int = 0
    concurrency_key: str = ""
    parent_id: str = ""
    schedule_id: str = ""
    run_id: str = ""
    parent_run: str = ""
    schedule_incarnation: str = ""
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """The effect of a step of a run of an execution is that of its fork from now on; each can be claimed once."""

    origin_run: str
    path: str


class ClaimedBefore(Exception):
    """Another fork has claimed an effect first; nothing was written."""


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a start: a new execution at `position`, or the one that the same request had started before."""

    key: int
    execution_id: str
    created: bool
    position: int
    run_id: str = ""


Begin: TypeAlias = Callable[[], tuple[NewExecution, Sequence[Event]]]
"""Makes what is to be written of a new execution."""
