"""An embedded SQLite database: one writer thread with group commit, one reader thread, numbered migrations."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from forgemesh.chassis.files_in_place import LOOK_PERIOD
from forgemesh.chassis.sqlite.database_faults import closed, code_of, fault_of, is_damage
from forgemesh.chassis.sqlite.database_file import DatabaseFile, Synchronous, connect, open_file
from forgemesh.chassis.sqlite.integrity import checking_beside, size_of
from forgemesh.chassis.threads import start_thread
from forgemesh.faults.service import DataCorrupted
from forgemesh.metrics.catalogue import STORE_COMMIT
from forgemesh.metrics.instrument import Histogram

T = TypeVar("T")

MAX_VARIABLES = 30_000

Work: TypeAlias = Callable[[sqlite3.Connection], T]
"""Reads or writes through the connection; runs again by itself if a neighbour in its batch fails."""

VERIFY_LIMIT = 64 << 20
"""Bytes of a database that is read as a whole before it is used, in about a third of a second."""

Hinder: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Is told of a source what is in the way of work, or an empty text once nothing is; as Health.hinder."""

LAST_WORDS = 1.0
"""Seconds in which a process whose database is gone says so, before it ends."""

_log = logging.getLogger(__name__)
_MAX_BATCH = 2_000


def _log_damage(damage: DataCorrupted) -> None:
    _log.error("%s", damage.message)


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """
    A statement over many rows: `head`, then `row` once for each, separated by commas, then `tail`.

    The rows of all waiting writers go into as few statements as possible: between two statements the writer thread
    has to win the interpreter back from a busy event loop, which costs more than the statement.
    """

    head: str
    row: str
    tail: str = ""

    def run(self, connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Run it over `rows`, in statements of 2^n rows, so that few texts have to be prepared."""
        start = 0
        while start < len(rows):
            size = 1 << ((len(rows) - start).bit_length() - 1)
            while size > 1 and size * len(rows[0]) > MAX_VARIABLES:
                size //= 2
            values = [value for row in rows[start : start + size] for value in row]
            connection.execute(f"{self.head} {', '.join([self.row] * size)} {self.tail}", values)
            start += size


@dataclass(slots=True)
class _Job:
    work: Work[object] | None
    rows: Sequence[tuple[Bulk, tuple[object, ...]]]
    guard: Work[None] | None
    future: asyncio.Future[Any]
    result: object = None
    error: BaseException | None = None


@dataclass(slots=True)
class Database:
    """
    Write through `write` and `write_rows`, read through `read`.

    Writes that wait while a transaction commits go into the next one together (group commit). A write is durable
    (WAL, synchronous=FULL) when its await returns. Raises StoreUnavailable if the file cannot be written, StoreLost
    from the moment on in which it, or a file that belongs to it, was removed or replaced, and DataCorrupted if SQLite
    finds it damaged; `damage` is what it found last. `commits` counts transactions by the writes that they carried.
    """

    path: Path
    loop: asyncio.AbstractEventLoop
    file: DatabaseFile
    damage: DataCorrupted | None = None
    commits: Histogram = field(default_factory=lambda: Histogram(STORE_COMMIT))
    _fresh: list[_Job] = field(default_factory=list)
    _jobs: queue.SimpleQueue[list[_Job] | None] = field(default_factory=queue.SimpleQueue)
    _reader: ThreadPoolExecutor | None = None
    _local: threading.local = field(default_factory=threading.local)
    _looks: list[tuple[Work[Any], asyncio.Future[Any]]] = field(default_factory=list)
    _closed: bool = False

    def write(self, work: Work[T], *, guard: Work[None] | None = None) -> asyncio.Future[T]:
        """
        Queue `work` for the next transaction; the future ends once that is durable.

        `guard` runs once per transaction before everything in it that names it; if it raises, none of that is kept.
        """
        return self._queue(_Job(work, (), guard, self.loop.create_future()))

    def write_rows(
        self, rows: Sequence[tuple[Bulk, tuple[object, ...]]], result: T, *, guard: Work[None] | None = None
    ) -> asyncio.Future[T]:
        """
        Queue rows, each with its statement, for the next transaction; the future gives `result` once that is durable.

        Rows of one statement keep their order; statements run in the order in which they first came up, after the
        transaction's other work.
        """
        return self._queue(_Job(None, rows, guard, self.loop.create_future(), result))

    def _queue(self, job: _Job) -> asyncio.Future[Any]:
        if self._closed:
            job.future.set_exception(closed(self.path))
        elif (lost := self.file.lost) is not None:
            job.future.set_exception(lost)
        else:
            if not self._fresh:
                self.loop.call_soon(self._hand_over)
            self._fresh.append(job)
        return job.future

    def _hand_over(self) -> None:
        """Wake the writer once for all that the loop wrote in this round, so that it stays together."""
        for start in range(0, len(self._fresh), _MAX_BATCH):
            self._jobs.put(self._fresh[start : start + _MAX_BATCH])
        self._fresh = []

    async def read(self, work: Work[T]) -> T:
        """Run `work` on a connection that sees everything committed so far."""
        if self._closed:
            raise closed(self.path)
        if self.file.lost is not None:
            raise self.file.lost
        return await self.loop.run_in_executor(self._reader, self._read, work)

    async def look(self, work: Work[T]) -> T:
        """As `read`, for what takes no time: what is looked up in one round of the loop is one job of the reader."""
        if self._closed:
            raise closed(self.path)
        if self.file.lost is not None:
            raise self.file.lost
        answer: asyncio.Future[T] = self.loop.create_future()
        if not self._looks:
            self.loop.call_soon(self._hand_looks)
        self._looks.append((work, answer))
        return await answer

    def _hand_looks(self) -> None:
        looks, self._looks = self._looks, []
        if self._closed:
            for _, answer in looks:
                if not answer.done():
                    answer.set_exception(closed(self.path))
            return
        found = self.loop.run_in_executor(self._reader, self._look_at_all, [work for work, _ in looks])
        found.add_done_callback(partial(_answer_looks, [answer for _, answer in looks]))

    def _look_at_all(self, works: Sequence[Work[Any]]) -> list[tuple[Any, Exception | None]]:
        found: list[tuple[Any, Exception | None]] = []
        for work in works:
            try:
                found.append((self._read(work), None))
            except Exception as error:  # noqa: BLE001 - belongs to who looks
                found.append((None, error))
        return found

    def _read(self, work: Work[T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._open_reader()
            return work(connection)
        except sqlite3.DatabaseError as error:
            self._note(error)
            raise fault_of(self.path, error) from error

    def _open_reader(self) -> sqlite3.Connection:
        """Never of what has taken the place of our file, nor of one that SQLite would make there."""
        self.file.places.look()
        if self.file.lost is not None:
            raise self.file.lost
        return connect(self.path)

    def _note(self, error: BaseException | None) -> None:
        if is_damage(error):
            self.damage = DataCorrupted(str(self.path), str(error))

    async def look_after(self, hinder: Hinder, *, replaceable: bool = False) -> None:
        """
        Look every second whether all files are in their places, and tell `hinder` what is the matter, until cancelled.

        Raises StoreLost once one is not, and that has been told: only a process that opens them anew can go on.
        If what is stored is `replaceable`, so that an empty database is better than a damaged one, the same holds for
        DataCorrupted.
        """
        while True:
            self.file.look()
            end = self.file.lost or (self.damage if replaceable else None)
            if end is not None:
                await hinder("database", end.message)
                await asyncio.sleep(LAST_WORDS)
                raise end
            if self.damage is not None:
                await hinder("database", self.damage.message)
            await asyncio.sleep(LOOK_PERIOD)

    def _run_writer(self) -> None:
        """The writer thread: takes whatever waits, commits it as one transaction, answers, and again."""
        while True:
            batch = self._next_batch()
            if not batch:
                return
            try:
                _commit_batch(self.file, batch, self._note)
            except Exception as error:  # noqa: BLE001 - whoever waits for a write hears what became of it
                _log.exception("a batch of %d writes was interrupted by a bug", len(batch))
                for job in batch:
                    job.error = job.error or error
            self.commits.record(len(batch))
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(_settle, self.file, batch)

    def _next_batch(self) -> list[_Job]:
        batch: list[_Job] = []
        item = self._jobs.get()
        while item is not None:
            batch += item
            if len(batch) >= _MAX_BATCH:
                return batch
            try:
                item = self._jobs.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._jobs.put(None)
        return batch


@contextlib.asynccontextmanager
async def open_database(
    path: Path,
    migrations: Sequence[str],
    *,
    synchronous: Synchronous = "FULL",
    verify_limit: int = VERIFY_LIMIT,
    on_damage: Callable[[DataCorrupted], object] = _log_damage,
) -> AsyncIterator[Database]:
    """
    Open the file, check it, bring it to the newest schema and keep other processes out of it.

    `migrations[n]` is the script from schema n to n + 1. Refuses a file that is damaged or has lost acknowledged
    commits (DataCorrupted), one that a newer release has written, and one that another process has open. A file of at
    most `verify_limit` bytes is read as a whole first; a larger one is checked beside its use, and `on_damage` gets to
    know; 0 turns both off. With `synchronous="NORMAL"` writes survive the death of the process, but the newest ones
    may be lost with the machine's power, and their loss is not detected.
    """
    file = await asyncio.to_thread(open_file, path, migrations, synchronous, verify_limit)
    database = Database(path, asyncio.get_running_loop(), file)
    database._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
    writer = start_thread("writer", database._run_writer)
    try:
        with _checking(database, verify_limit, on_damage):
            yield database
    finally:
        database._closed = True
        database._hand_over()
        database._jobs.put(None)
        await asyncio.to_thread(writer.join)
        file.writer.close()
        await asyncio.to_thread(_close_reader, database)
        file.close()


def _checking(
    database: Database, verify_limit: int, on_damage: Callable[[DataCorrupted], object]
) -> contextlib.AbstractContextManager[None]:
    """Checks what was too large to be checked before its use."""
    if not 0 < verify_limit < size_of(database.path):
        return contextlib.nullcontext()

    def tell(damage: DataCorrupted) -> None:
        database.damage = damage
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody uses the database any more
            database.loop.call_soon_threadsafe(on_damage, damage)

    return checking_beside(database.path, tell)


def _close_reader(database: Database) -> None:
    assert database._reader is not None
    database._reader.submit(lambda: getattr(database._local, "connection", None) and database._local.connection.close())
    database._reader.shutdown(wait=True)


def _commit_batch(file: DatabaseFile, batch: list[_Job], note: Callable[[BaseException], None]) -> None:
    """One transaction for all; if that fails, one for each, so that a bad write fails alone."""
    try:
        _commit(file, batch)
    except Exception as failure:  # noqa: BLE001 - which job it was shows when each runs alone
        if isinstance(failure, sqlite3.OperationalError) and code_of(failure) == sqlite3.SQLITE_BUSY:
            for job in batch:  # each would wait as long for the other process as all together have waited
                job.error = fault_of(file.path, failure)
            return
        for job in batch:
            try:
                _commit(file, [job])
            except sqlite3.DatabaseError as error:
                note(error)
                job.error = fault_of(file.path, error)
            except BaseException as error:  # noqa: BLE001 - belongs to the waiter
                job.error = error


def _commit(file: DatabaseFile, jobs: list[_Job]) -> None:
    connection, head = file.writer, file.head
    if file.lost is not None:
        raise file.lost
    connection.execute("BEGIN IMMEDIATE")
    try:
        _run(connection, jobs)
        if head is not None:
            head.count(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if head is not None:
        head.note()


def _run(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    for guard in {job.guard: None for job in jobs if job.guard is not None}:
        guard(connection)
    pending: dict[Bulk, list[tuple[object, ...]]] = {}
    for job in jobs:
        if job.work is not None:
            job.result = job.work(connection)
        for bulk, row in job.rows:
            pending.setdefault(bulk, []).append(row)
    for bulk, rows in pending.items():
        bulk.run(connection, rows)


def _settle(file: DatabaseFile, batch: list[_Job]) -> None:
    """
    What is committed is acknowledged only if it stands in files that a successor will find.

    They are looked at here and not in the writer thread, which had to win the interpreter back after each of them.
    """
    file.places.look_at_vital()
    lost = file.lost
    for job in batch:
        job.error = job.error or lost
        try:
            _settle_one(job)
        except Exception as error:  # noqa: BLE001 - an exception that no future takes; the others hear of their writes
            job.future.set_exception(RuntimeError(f"what became of a write cannot be told: {error}"))


def _answer_looks(
    answers: Sequence[asyncio.Future[Any]], found: asyncio.Future[list[tuple[Any, Exception | None]]]
) -> None:
    if found.cancelled():  # the reader has gone
        for answer in answers:
            answer.cancel()
        return
    for answer, (result, error) in zip(answers, found.result(), strict=True):
        if answer.done():
            continue
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)


def _settle_one(job: _Job) -> None:
    if not job.future.done():
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
