"""What schedules ask of the world outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.schedules.schedule import Run, Schedule
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.ports import StoredDefinition

KEPT_RUNS = 1000
"""Decided runs of one schedule that are remembered."""


@dataclass(frozen=True, slots=True)
class DamagedSchedule:
    """A schedule that cannot be read, or a start of which cannot: nothing of it happens; `key` is the store's name."""

    key: int
    namespace: str
    schedule_id: str
    fault: DataCorrupted


class WallClock(Protocol):
    """The time of day, in Unix nanoseconds; it may jump."""

    def now(self) -> int: ...

    async def wait(self, event: asyncio.Event, until: int | None) -> None:
        """Until the event is set or, unless that is None, the moment has come."""


class ScheduleStore(Protocol):
    """Keeps schedules. What it acknowledges is durable; raises StoreUnavailable, and then has kept nothing."""

    async def create(self, schedule: Schedule) -> Schedule:
        """The schedule with its key."""

    async def save(self, schedule: Schedule, runs: Sequence[Run], answer: Recorded | None = None) -> None:
        """
        The schedule as it stands now, the runs that have changed, and the answer that somebody gets, in one
        transaction.
        """

    async def delete(self, key: int) -> None: ...

    @property
    def damaged(self) -> list[DamagedSchedule]:
        """What could not be read when they were loaded."""

    async def load(self) -> list[Schedule]:
        """All that can be read, with what waits and what is starting."""

    async def recent(self, key: int, limit: int) -> list[Run]:
        """The newest decisions, newest first; those that wait are not among them."""

    async def asked(self, schedule: Schedule, request_id: str, content: str) -> list[Run]:
        """What the same request asked for before, in order; raises RequestIdReused if it asked for something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledStart:
    """
    An execution to be started, in a trace of its own.

    The same start always has the same `execution_id` and `request_id`. `linked_span` ("<trace>-<span>" or empty) is
    that of somebody who asked for it.
    """

    namespace: str
    schedule_id: str
    incarnation: str
    workflow: str
    version: str
    input: Payload
    priority: int
    execution_id: str
    request_id: str
    linked_span: str


class Opened(NamedTuple):
    """An execution that a schedule started and that has not ended."""

    execution_id: str
    run_id: str


class Starter(Protocol):
    """
    Acts on executions for a schedule. A fault with the code UNAVAILABLE may pass, any other is final; of cancelling and
    terminating it then says that nothing was left to stop.
    """

    async def start(self, start: ScheduledStart) -> None:
        """
        Returns once the execution is durable; a repetition changes nothing, also if the same start was carried out
        before with another input. Refuses as StartExecution does, and with ConcurrencyExceeded if the execution was
        refused its place and so never ran.
        """

    async def cancel(self, namespace: str, opened: Opened, reason: str) -> None: ...

    async def terminate(self, namespace: str, opened: Opened, reason: str) -> None: ...

    async def open_executions(self, schedule: Schedule) -> list[Opened]:
        """
        Those that the schedule started itself, and no other schedule of its id; sees everything that `start`
        acknowledged.
        """

    def on_ended(self, listener: Callable[[str, str], None]) -> None:
        """Tell `listener` namespace and schedule of each execution that a schedule started, once its end is durable."""


class Workflows(Protocol):
    """Knows registered definitions."""

    async def find(self, namespace: str, name: str, version: str) -> StoredDefinition:
        """The highest version if `version` is empty; raises DefinitionNotFound."""
