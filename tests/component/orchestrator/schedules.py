"""Schedules over a real database, with executions and time in the test's hand."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.server import Listen, serving
from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.chassis.tasks import beside
from forgemesh.faults import Fault
from forgemesh.faults.workflow import DefinitionNotFound
from forgemesh.orchestrator.api.schedule_servicer import SCHEDULE_SERVICE, ScheduleServicer
from forgemesh.orchestrator.execution.commands.pending_requests import RequestsUnderWay
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.schedules.ports import DamagedSchedule, Opened, ScheduledStart, ScheduleStore
from forgemesh.orchestrator.schedules.schedule import Run, Schedule
from forgemesh.orchestrator.schedules.scheduler import Scheduler
from forgemesh.orchestrator.schedules.schedules import Schedules
from forgemesh.orchestrator.store.sqlite.schedule_store import SqliteScheduleStore
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.ports import StoredDefinition
from tests.component.orchestrator.hosts import PATIENCE
from tests.manual_clock import ManualClock
from tests.unit.orchestrator.schedules import NOON
from tests.unit.orchestrator.workflows import parsed

DEFINITION = """
name: w
version: 1.0.0
input: {n: integer?, day: string?}
steps: [{id: a, call: {plugin: p, operation: o}}]
"""


class ManualWallClock:
    """The time of day as a test moves it, from noon on; fulfils schedule_ports.WallClock."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._clock.now += NOON / SECOND - self._clock.wall()

    def now(self) -> int:
        return round(self._clock.wall()) * SECOND

    def advance(self, seconds: int) -> None:
        self._clock.advance(seconds)

    async def wait(self, event: asyncio.Event, until: int | None) -> None:
        seconds = None if until is None else self._clock.now + (until - self.now()) / SECOND
        await self._clock.wait(event, seconds)


@dataclass
class ScriptedStarter:
    """
    Starts executions by name only; they end when a test says so.

    `faults` are raised by the next starts, one each. While `held`, a start never returns.
    """

    starts: list[ScheduledStart] = field(default_factory=list)
    open: dict[str, ScheduledStart] = field(default_factory=dict)
    stopped: list[tuple[str, str, str]] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    held: bool = False
    looks: Counter[str] = field(default_factory=Counter)
    listeners: list[Callable[[str, str], None]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        """Of all that were started, in order."""
        return [start.execution_id for start in self.starts]

    async def start(self, start: ScheduledStart) -> None:
        if self.held:
            self._tell()
            await asyncio.Event().wait()
        if self.faults:
            fault = self.faults.popleft()
            self._tell()
            raise fault
        earlier = next((one for one in self.starts if one.request_id == start.request_id), None)
        if earlier is None:
            self.starts.append(start)
            self.open[start.execution_id] = start
        self._tell()

    async def cancel(self, namespace: str, opened: Opened, reason: str) -> None:
        self.stopped.append(("cancel", opened.execution_id, reason))
        self._tell()

    async def terminate(self, namespace: str, opened: Opened, reason: str) -> None:
        self.stopped.append(("terminate", opened.execution_id, reason))
        self.end(opened.execution_id)

    async def open_executions(self, schedule: Schedule) -> list[Opened]:
        self.looks[schedule.id] += 1
        its = (schedule.namespace, schedule.id, schedule.incarnation)
        mine = [one for one in self.open.values() if (one.namespace, one.schedule_id, one.incarnation) == its]
        return [Opened(one.execution_id, "") for one in mine]

    def on_ended(self, listener: Callable[[str, str], None]) -> None:
        self.listeners.append(listener)

    def end(self, *execution_ids: str) -> None:
        """These end, or all that are open."""
        for execution_id in execution_ids or tuple(self.open):
            start = self.open.pop(execution_id)
            for listener in self.listeners:
                listener(start.namespace, start.schedule_id)
        self._tell()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await self.changed.wait()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class OneWorkflow:
    """Knows the workflow `w` alone."""

    async def find(self, namespace: str, name: str, version: str) -> StoredDefinition:
        if (name, version) not in (("w", ""), ("w", "1.0.0")):
            raise DefinitionNotFound(name, version, ["w"])
        return StoredDefinition(parsed(DEFINITION, namespace), NOON)


@dataclass
class WatchedStore:
    """
    Tells when it has saved; at its `fatal`th save (0: none) the process dies, before it or once it is durable and
    before anybody is told.
    """

    inner: ScheduleStore
    fatal: int = 0
    before: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def damaged(self) -> list[DamagedSchedule]:
        return self.inner.damaged

    async def create(self, schedule: Schedule) -> Schedule:
        return await self.inner.create(schedule)

    async def save(self, schedule: Schedule, runs: Sequence[Run], answer: Recorded | None = None) -> None:
        self.fatal -= 1
        if self.fatal == 0 and self.before:
            await self._die()
        await self.inner.save(schedule, runs, answer)
        if self.fatal == 0:
            await self._die()
        self._tell()

    async def delete(self, key: int) -> None:
        await self.inner.delete(key)

    async def load(self) -> list[Schedule]:
        return await self.inner.load()

    async def recent(self, key: int, limit: int) -> list[Run]:
        return await self.inner.recent(key, limit)

    async def asked(self, schedule: Schedule, request_id: str, content: str) -> list[Run]:
        return await self.inner.asked(schedule, request_id, content)

    async def _die(self) -> None:
        self.died.set()
        self._tell()
        await asyncio.Event().wait()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class Running:
    """Schedules in operation."""

    schedules: Schedules
    scheduler: Scheduler
    store: WatchedStore
    starter: ScriptedStarter
    clock: ManualWallClock

    async def create(self, plan: Any, schedule_id: str = "s") -> Schedule:
        created, _ = await self.schedules.create("default", schedule_id, plan, None)
        return created

    def schedule(self, schedule_id: str = "s") -> Schedule:
        """What is durable of it."""
        return self.scheduler.loop("default", schedule_id).schedule

    async def until(self, holds: Callable[[Schedule], bool], schedule_id: str = "s") -> Schedule:
        """The schedule as soon as what is durable of it fulfils the condition, or the process has died."""
        async with asyncio.timeout(PATIENCE):
            while not holds(self.schedule(schedule_id)) and not self.store.died.is_set():
                await self.store.changed.wait()
        return self.schedule(schedule_id)


def unfenced(connection: sqlite3.Connection) -> None:
    """No other process takes the file over."""


@contextlib.asynccontextmanager
async def schedule_database(path: Path) -> AsyncIterator[Database]:
    async with open_database(path, MIGRATIONS) as database:
        yield database


@contextlib.asynccontextmanager
async def scheduling(store: WatchedStore, starter: ScriptedStarter, clock: ManualWallClock) -> AsyncIterator[Running]:
    """Take up what is stored and run it; leaving ends it as a crash does, without a word."""
    starter.listeners.clear()
    scheduler = Scheduler(store, starter, clock)
    await scheduler.load()
    schedules = Schedules(scheduler, store, starter, OneWorkflow(), clock, RequestsUnderWay())
    async with beside(scheduler.run()):
        yield Running(schedules, scheduler, store, starter, clock)


@contextlib.asynccontextmanager
async def serving_schedules(running: Running) -> AsyncIterator[str]:
    """The address at which they are served."""
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", grace=0.0, receive_limit=SESSION_LIMIT)
    add = partial(add_ScheduleServiceServicer_to_server, ScheduleServicer(running.schedules, running.clock.now))
    async with serving(listen, (SCHEDULE_SERVICE,), add) as server:
        yield server.address


@contextlib.asynccontextmanager
async def served_schedules(folder: Path) -> AsyncIterator[tuple[Running, str]]:
    """Schedules in operation with a database in this folder, and their address."""
    async with (
        schedule_database(folder / "schedules.db") as database,
        scheduling(store_at(database), ScriptedStarter(), ManualWallClock()) as running,
        serving_schedules(running) as address,
    ):
        yield running, address


def store_at(database: Database, *, fatal: int = 0, before: bool = False) -> WatchedStore:
    return WatchedStore(SqliteScheduleStore(database, unfenced), fatal, before)
