"""Whether a database file is sound, told before it is used or beside its use."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from forgemesh.chassis.sqlite.commit_head import head_path, noted, told
from forgemesh.chassis.sqlite.database_faults import code_of, fault_of
from forgemesh.chassis.threads import start_thread
from forgemesh.faults.fault import Fault
from forgemesh.faults.service import DataCorrupted

MAGIC = b"SQLite format 3\0"
"""The first bytes of every database."""
_SHOWN = 3
_WRITE_VERSION = 18
_WRITE_VERSIONS = (1, 2)
_INTERRUPT_PERIOD = 0.05
_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""The second comes if SQLite's message quotes a damaged name."""


def inspect(path: Path, verify_limit: int) -> None:
    """
    Raises DataCorrupted for a file that is damaged or has lost commits; changes nothing in it.

    A file of at most `verify_limit` bytes is read as a whole, with every index compared to its table.
    """
    try:
        with _reading(path) as connection:
            if size_of(path) <= verify_limit:
                _check(connection, path, "integrity_check")
                _check_header(path)
            _compare(connection, path)
    except _ERRORS as error:
        raise _damage(path, error) from error


def size_of(path: Path) -> int:
    """Bytes in the file and in the log of its newest commits."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def shape(connection: sqlite3.Connection) -> int:
    """A checksum over the schema's version, tables, indexes and triggers; never 0, which stands for not known."""
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY 1, 2"
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return zlib.crc32(repr([version, *map(tuple, connection.execute(sql))]).encode()) or 1


@contextlib.contextmanager
def checking_beside(path: Path, on_damage: Callable[[DataCorrupted], object]) -> Iterator[None]:
    """
    Checks the file's structure in a thread of its own while the block runs; the end of the block ends it.

    `on_damage` is called from that thread. Indexes are not compared to their tables.
    """

    def check() -> None:
        try:
            _check(connection, path, "quick_check")
        except _ERRORS as error:
            if isinstance(fault := _damage(path, error), DataCorrupted):
                on_damage(fault)
        except DataCorrupted as fault:
            on_damage(fault)

    with _reading(path) as connection:
        thread = start_thread("integrity", check, again=False)
        try:
            yield
        finally:
            while thread.is_alive():  # an interrupt that comes between two statements has no effect
                connection.interrupt()
                thread.join(_INTERRUPT_PERIOD)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that leaves the file and its log as they are, so that what is damaged can still be looked at."""
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"  # that one has to be rolled back first
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    ) as connection:
        yield connection


def _check(connection: sqlite3.Connection, path: Path, pragma: str) -> None:
    findings = [row[0] for row in connection.execute(f"PRAGMA {pragma}({_SHOWN})")]
    if findings != ["ok"]:
        raise DataCorrupted(str(path), "; ".join(" ".join(finding.split()) for finding in findings))


def _check_header(path: Path) -> None:
    """For the one byte that SQLite takes on trust: with another one the file could only be read."""
    with path.open("rb") as file:
        header = file.read(_WRITE_VERSION + 1)
    if len(header) > _WRITE_VERSION and header[_WRITE_VERSION] not in _WRITE_VERSIONS:
        raise DataCorrupted(str(path), f"its header has write version {header[_WRITE_VERSION]}")


def _compare(connection: sqlite3.Connection, path: Path) -> None:
    """The database to what it says about itself, and to what was noted beside it."""
    number, expected = told(connection)
    if expected not in (0, shape(connection)):
        raise DataCorrupted(str(path), "its tables are not the ones that were made in it")
    if number < (last := noted(path)):
        raise DataCorrupted(
            str(path),
            f"its newest commit is number {number}, and number {last} was acknowledged",
            f"restore a backup, or remove {head_path(path)} to go on without what is missing",
        )


def _damage(path: Path, error: sqlite3.DatabaseError | UnicodeDecodeError) -> Exception:
    """In a sound file each statement of a check works: an error that has no other cause is damage."""
    if code_of(error) == sqlite3.SQLITE_INTERRUPT:
        return error
    fault = fault_of(path, error) if isinstance(error, sqlite3.DatabaseError) else None
    return fault if isinstance(fault, Fault) else DataCorrupted(str(path), str(error))
