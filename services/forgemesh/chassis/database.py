"""An embedded SQLite database: one writer thread with group commit, one reader thread, numbered migrations."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from forgemesh.faults.service import DataCorrupted, StoreUnavailable

T = TypeVar("T")

MAX_VARIABLES = 30_000

Work: TypeAlias = Callable[[sqlite3.Connection], T]
"""Reads or writes through the connection; runs again by itself if a neighbour in its batch fails."""

Synchronous: TypeAlias = Literal["FULL", "NORMAL"]

_REMEDIES = {
    sqlite3.SQLITE_FULL: ("free space on its disk; it goes on by itself",),
    sqlite3.SQLITE_BUSY: ("end what holds a lock on it",),
    sqlite3.SQLITE_READONLY: ("let this user write to it",),
    sqlite3.SQLITE_CANTOPEN: ("let this user open it and create files beside it",),
}
_MAX_BATCH = 2_000


@dataclass(frozen=True, slots=True)
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
class CommitCounts:
    """How many transactions were committed, and how many writes they carried."""

    commits: int = 0
    writes: int = 0


@dataclass(slots=True)
class Database:
    """
    Write through `write` and `write_rows`, read through `read`.

    Writes that wait while a transaction commits go into the next one together (group commit). A write is durable
    (WAL, synchronous=FULL) when its await returns. Raises StoreUnavailable if the file cannot be written and
    DataCorrupted if SQLite finds it damaged.
    """

    path: Path
    loop: asyncio.AbstractEventLoop
    counts: CommitCounts = field(default_factory=CommitCounts)
    _fresh: list[_Job] = field(default_factory=list)
    _jobs: queue.SimpleQueue[list[_Job] | None] = field(default_factory=queue.SimpleQueue)
    _reader: ThreadPoolExecutor | None = None
    _local: threading.local = field(default_factory=threading.local)
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
            job.future.set_exception(_closed(self.path))
        else:
            self._fresh.append(job)
            if len(self._fresh) == 1:
                self.loop.call_soon(self._hand_over)
        return job.future

    def _hand_over(self) -> None:
        """Wake the writer once for all that the loop wrote in this round, so that it stays together."""
        for start in range(0, len(self._fresh), _MAX_BATCH):
            self._jobs.put(self._fresh[start : start + _MAX_BATCH])
        self._fresh = []

    async def read(self, work: Work[T]) -> T:
        """Run `work` on a connection that sees everything committed so far."""
        if self._closed:
            raise _closed(self.path)
        return await self.loop.run_in_executor(self._reader, self._read, work)

    def _read(self, work: Work[T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = _connect(self.path)
            return work(connection)
        except sqlite3.DatabaseError as error:
            raise _fault(self.path, error) from error

    def _run_writer(self, connection: sqlite3.Connection) -> None:
        """The writer thread: takes whatever waits, commits it as one transaction, answers, and again."""
        while True:
            batch = self._next_batch()
            if not batch:
                return
            _commit_batch(connection, batch, self.path)
            self.counts.commits += 1
            self.counts.writes += len(batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(_settle, batch)

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
    path: Path, migrations: Sequence[str], *, synchronous: Synchronous = "FULL"
) -> AsyncIterator[Database]:
    """
    Open the file, bring it to the newest schema and keep other processes out of it.

    `migrations[n]` is the script from schema n to n + 1. Refuses a file that a newer release has written and one
    that another process has open. With `synchronous="NORMAL"` writes survive the death of the process, but the newest
    ones may be lost with the machine's power.
    """
    database = Database(path, asyncio.get_running_loop())
    lock, connection = await asyncio.to_thread(_open, path, migrations, synchronous)
    database._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
    writer = threading.Thread(target=database._run_writer, args=(connection,), name="writer", daemon=True)
    writer.start()
    try:
        yield database
    finally:
        database._closed = True
        database._hand_over()
        database._jobs.put(None)
        await asyncio.to_thread(writer.join)
        connection.close()
        await asyncio.to_thread(_close_reader, database)
        os.close(lock)


def _close_reader(database: Database) -> None:
    assert database._reader is not None
    database._reader.submit(lambda: getattr(database._local, "connection", None) and database._local.connection.close())
    database._reader.shutdown(wait=True)


def _open(path: Path, migrations: Sequence[str], synchronous: Synchronous) -> tuple[int, sqlite3.Connection]:
    with contextlib.ExitStack() as undo:
        lock = _lock(path)
        undo.callback(os.close, lock)
        try:
            connection = _connect(path, synchronous)
            undo.callback(connection.close)
            _migrate(connection, path, migrations)
        except sqlite3.DatabaseError as error:
            raise _fault(path, error) from error
        undo.pop_all()
    return lock, connection


def _lock(path: Path) -> int:
    """The open file, kept from other processes until it is closed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        cause = error.strerror or str(error)
        raise StoreUnavailable(str(path), cause, "let this user write there, or name another path") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StoreUnavailable(
            str(path), "another process has it open", "stop that one, or give this one a path of its own"
        ) from error
    return lock


def _connect(path: Path, synchronous: Synchronous = "FULL") -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=5.0, cached_statements=256
    )
    connection.row_factory = sqlite3.Row
    try:
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StoreUnavailable(
            str(path),
            f"it has schema {version}, this release knows {len(migrations)}",
            "use the newer release, or a backup from before it",
        )
    for number, script in enumerate(migrations[version:], start=version + 1):
        connection.executescript(f"BEGIN;{script};PRAGMA user_version={number};COMMIT;")


def _commit_batch(connection: sqlite3.Connection, batch: list[_Job], path: Path) -> None:
    """One transaction for all; if that fails, one for each, so that a bad write fails alone."""
    try:
        _commit(connection, batch)
    except Exception:  # noqa: BLE001 - which job it was shows when each runs alone
        for job in batch:
            try:
                _commit(connection, [job])
            except sqlite3.DatabaseError as error:
                job.error = _fault(path, error)
            except BaseException as error:  # noqa: BLE001 - belongs to the waiter
                job.error = error


def _commit(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
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
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _settle(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _closed(path: Path) -> StoreUnavailable:
    return StoreUnavailable(str(path), "this process is stopping and has closed it", "try again once it has restarted")


def _fault(path: Path, error: sqlite3.DatabaseError) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DataCorrupted(str(path), str(error))
    if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:  # that one is bad SQL
        return StoreUnavailable(str(path), str(error), *_REMEDIES.get(code, ()))
    return error
