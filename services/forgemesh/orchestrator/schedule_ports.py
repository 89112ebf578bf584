"""What schedules ask of the world outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.schedule import Run, Schedule
from forgemesh.orchestrator.ports import StoredDefinition


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

    async def save(self, schedule: Schedule, runs: Sequence[Run]) -> None:
        """The schedule as it stands now and the runs that have changed, in one transaction."""

    async def delete(self, key: int) -> None: ...

    @property
    def damaged(self) -> list[DamagedSchedule]:
        """What could not be read when they were loaded."""

    async def load(self) -> list[Schedule]:
        """All that can be read, with what waits and what is starting."""

    async def recent(self, key: int, limit: int) -> list[Run]:
        """The newest decisions, newest first; those that wait are not among them."""

    async def asked(self, key: int, request_id: str) -> list[Run]:
        """What a request with this id asked for before, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledStart:
    """
    An execution to be started, in a trace of its own.

    The same start always has the same `execution_id` and `request_id`. `linked_span` ("<trace>-<span>" or empty) is
    that of somebody who asked for it.
    """

    namespace: str
    schedule_id: str
    workflow: str
    version: str
    input: Payload
    priority: int
    execution_id: str
    request_id: str
    linked_span: str


class Starter(Protocol):
    """
    Acts on executions for a schedule. A fault with the code UNAVAILABLE may pass, any other is final; of cancelling and
    terminating it then says that nothing was left to stop.
    """

    async def start(self, start: ScheduledStart) -> None:
        """
        Returns once the execution is durable; a repetition changes nothing. Refuses as StartExecution does; also with
        RequestIdReused if the same start was carried out before with another input.
        """

    async def cancel(self, namespace: str, execution_id: str, reason: str) -> None: ...

    async def terminate(self, namespace: str, execution_id: str, reason: str) -> None: ...

    async def open_executions(self, namespace: str, schedule_id: str) -> list[str]:
        """Those that the schedule started and that have not ended; sees everything that `start` acknowledged."""

    def on_ended(self, listener: Callable[[str, str], None]) -> None:
        """Tell `listener` namespace and schedule of each execution that a schedule started, once its end is durable."""


class Workflows(Protocol):
    """Knows registered definitions."""

    async def find(self, namespace: str, name: str, version: str) -> StoredDefinition:
        """The highest version if `version` is empty; raises DefinitionNotFound."""
