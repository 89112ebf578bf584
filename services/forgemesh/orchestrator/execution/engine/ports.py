"""What the orchestrator's use cases ask of the world outside."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.ports import DefinitionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """
    What lists show of an execution; `key` is the store's own name for it, times are Unix nanoseconds.

    `incidents` counts the steps that wait for a person. Ids can be given again, `run_id` and what is called so cannot.
    """

    key: int
    namespace: str
    execution_id: str
    workflow: str
    workflow_version: str
    status: Status
    started_at: int
    ended_at: int
    trace_id: str
    sequence: int
    incidents: int = 0
    priority: int = 0
    concurrency_key: str = ""
    parent_id: str = ""
    schedule_id: str = ""
    run_id: str = ""
    parent_run: str = ""
    schedule_incarnation: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What of an execution's row changes."""

    status: Status
    ended_at: int = 0
    incidents: int = 0


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
    """A start to be written."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions are meant: every field that is set narrows the choice; moments are Unix nanoseconds."""

    namespace: str
    workflows: tuple[str, ...] = ()
    workflow_version: str = ""
    statuses: tuple[Status, ...] = ()
    open_only: bool = False
    incidents_only: bool = False
    id_prefix: str = ""
    started_from: int = 0
    started_before: int = 0
    parent_id: str = ""
    schedule_id: str = ""
    concurrency_key: str = ""
    parent_run: str = ""
    schedule_incarnation: str = ""


class ExecutionOrder(Enum):
    """In which order executions are listed; what is open has the latest of all ends."""

    STARTED_DESCENDING = "STARTED_DESCENDING"
    STARTED_ASCENDING = "STARTED_ASCENDING"
    ENDED_DESCENDING = "ENDED_DESCENDING"
    ENDED_ASCENDING = "ENDED_ASCENDING"


@dataclass(frozen=True, slots=True)
class Page:
    """Some executions, and the token of those after them; empty if there are none."""

    rows: list[ExecutionRow]
    next_token: str


@dataclass(frozen=True, slots=True)
class SlotRow:
    """An open execution with a concurrency key: whether it has a place, or waits for one."""

    namespace: str
    workflow: str
    concurrency_key: str
    execution_id: str
    granted: bool


@dataclass(frozen=True, slots=True)
class KeptResult:
    """The output of an earlier call, and the plugin version that gave it, at the manifest that it had then."""

    plugin_id: str
    plugin_version: str
    manifest_digest: str
    output: Payload


class Store(DefinitionStore, Protocol):
    """
    Keeps definitions and histories. What it acknowledges is durable.

    Raises faults.service.StoreUnavailable when it cannot, and then has kept nothing of what it was asked, and
    DataCorrupted for what it finds damaged.
    """

    async def create(self, wanted: Wanted, begin: Begin, settled: Callable[[Future[Created]], None]) -> Created:
        """
        Write an execution and its first events; raises ExecutionExists, RequestIdReused, ClaimedBefore, or as `begin`.

        `begin` is asked for both in the very moment in which the write is queued, after everything that was queued
        before and before everything that is queued later: what it finds in memory still holds once the write is
        durable. It is not asked if nothing has to be written. If the request allows it, an ended execution of the same
        id is renamed. `settled` is told what became of the write in that moment, also if the caller has gone away
        meanwhile; it is not called if nothing had to be written.
        """

    async def started_by(self, namespace: str, request: Request) -> Created | None:
        """The execution that a request with this id got before; raises RequestIdReused."""

    def append(self, key: int, events: Sequence[Event], standing: Standing | None) -> Future[int]:
        """
        Write an execution's next events, and where it stands if that has changed, in one transaction; returns the last
        event's position in the whole store.
        """

    def append_answered(
        self, key: int, events: Sequence[Event], standing: Standing | None, answer: Recorded
    ) -> Future[int]:
        """The same, with the answer that somebody gets for what is in `events`."""

    async def find(self, namespace: str, execution_id: str, run_id: str = "") -> ExecutionRow | None:
        """That run, also if it has been renamed since it had the id; without one, the execution that has the id."""

    async def find_run(self, run_id: str) -> ExecutionRow | None: ...

    async def claims(self, origin_run: str) -> dict[str, str]:
        """Which effects of a run were claimed, and by which run; raises DataCorrupted."""

    async def executions(self, wanted: ExecutionFilter, order: ExecutionOrder, token: str, limit: int) -> Page:
        """Sees everything that was acknowledged; raises InvalidRequest for a token of another question."""

    async def open_executions(self) -> list[ExecutionRow]: ...

    async def slots(self) -> list[SlotRow]:
        """Of all open executions with a concurrency key, the oldest first."""

    async def events(self, key: int, from_sequence: int, limit: int) -> list[Event]:
        """In sequence, fewer than `limit` if they are large, none if there are none; raises DataCorrupted."""

    async def delete_execution(self, key: int) -> None:
        """Forget an execution with its history and what only it needs."""

    async def forget_answers(self, given_before: int) -> None:
        """Those about schedules; those about executions are forgotten with them."""

    async def expired(self, ended_before: int, keep: int, limit: int) -> list[int]:
        """Keys of ended executions: those that ended before then, and those beyond the `keep` newest (0: all kept)."""

    async def cached(self, key: bytes, now: int) -> list[KeptResult]:
        """What is kept under `key`, one of each provider, the newest first."""

    async def keep_result(self, key: bytes, kept: KeptResult, expires_at: int) -> None:
        """In place of what is kept of the same provider."""

    async def drop_expired_results(self, now: int) -> None: ...

    async def spans_sent(self) -> int:
        """Position up to which all spans have been taken by a collector."""

    async def executions_after(self, position: int) -> list[ExecutionRow]:
        """Executions with events after `position`."""

    async def mark_spans_sent(self, position: int) -> None: ...

    async def last_before(self, key: int, position: int) -> int:
        """Sequence of an execution's last event at or before `position`; 0 if there is none."""
