"""The orchestrator's database in memory: real SQL, and a disk that keeps, holds back and loses as a seed says."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from forgemesh.chassis.files_in_place import FilesInPlace
from forgemesh.chassis.sqlite import database as chassis
from forgemesh.chassis.sqlite.database import Database, Work, _Job
from forgemesh.chassis.sqlite.database_faults import closed
from forgemesh.chassis.sqlite.database_file import DatabaseFile
from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS, NEW_EVENT

T = TypeVar("T")

PATH = Path("orchestrator.db")


@cache
def blank_disk() -> bytes:
    """A database as it is before anything was written."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for script in MIGRATIONS:
            connection.executescript(f"BEGIN;{script};COMMIT;")
        return connection.serialize()


def disk_of(content: bytes) -> sqlite3.Connection:
    """What outlives every orchestrator."""
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
    connection.deserialize(content)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


class Whims:
    """How the disk behaves; `committed` is told of every transaction, `moment` may end the process."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.draw = draw
        self.full = False
        self.known = 0
        """Position up to which the living orchestrator knows that all is durable."""
        self.queued_at: dict[int, int] = {}
        """By position of an event: what was known when its write was asked for."""
        self.committed: Callable[[], None] = lambda: None
        self.moment: Callable[[], None] = lambda: None


class WorldDatabase(Database):
    """
    See Database. Writes are committed in the order in which they came, some at a time, and told later; a process that
    dies has lost those that were not committed, and does not know of those that were.
    """

    def __init__(self, disk: sqlite3.Connection, whims: Whims, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(PATH, loop, DatabaseFile(PATH, disk, None, FilesInPlace(), -1))
        self._whims = whims
        self._waiting: list[_Job] = []
        self._to_tell: deque[list[_Job]] = deque()
        self._busy = False
        self.dead = False

    def _queue(self, job: _Job) -> asyncio.Future[Any]:
        if not self.dead:
            for bulk, row in job.rows:
                if bulk is NEW_EVENT:
                    self._whims.queued_at[int(row[0])] = self._whims.known  # type: ignore[call-overload]
            self._waiting.append(job)
            self._work()
        return job.future

    async def read(self, work: Work[T]) -> T:
        await asyncio.sleep(self._pause())
        if self.dead:
            raise closed(self.path)
        found = work(self.file.writer)
        await asyncio.sleep(self._pause())
        return found

    async def look(self, work: Work[T]) -> T:
        return await self.read(work)

    def _pause(self) -> float:
        chance = self._whims.draw()
        return 0.0 if chance < 0.7 else (chance - 0.7) / 100

    def _work(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self.loop.call_later(self._pause(), self._commit)

    def _commit(self) -> None:
        if self.dead:
            return
        self._whims.moment()
        size = len(self._waiting) if self._whims.draw() < 0.7 else 1 + int(self._whims.draw() * len(self._waiting))
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._whims.full:
            for job in batch:
                job.error = StoreUnavailable(str(self.path), "disk full")
        else:
            chassis._commit_batch(self.file, batch, self._note)
        self._whims.committed()
        self._whims.moment()
        self._to_tell.append(batch)
        self._busy = False
        self.loop.call_later(self._pause(), self._tell)
        self._work()

    def _tell(self) -> None:
        if self.dead:
            return
        batch = self._to_tell.popleft()
        positions = [int(row[0]) for job in batch for bulk, row in job.rows if bulk is NEW_EVENT]  # type: ignore[call-overload]
        self._whims.known = max([self._whims.known, *positions])
        chassis._settle(self.file, batch)
