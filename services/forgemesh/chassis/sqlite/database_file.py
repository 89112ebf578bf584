"""The file of a database: locked, checked, at the newest schema, and its connections."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from forgemesh.chassis.file_lock import Taken, take
from forgemesh.chassis.files_in_place import FilesInPlace
from forgemesh.chassis.private_files import keep_private, make_private_folder, open_private
from forgemesh.chassis.sqlite import commit_head
from forgemesh.chassis.sqlite.commit_head import CommitHead
from forgemesh.chassis.sqlite.database_faults import fault_of, unusable
from forgemesh.chassis.sqlite.integrity import MAGIC, inspect, shape
from forgemesh.faults.service import StoreLost, StoreTooNew, StoreUnavailable

Synchronous: TypeAlias = Literal["FULL", "NORMAL"]

_PATIENCE = 5.0
_BESIDE = {"-wal": True, "-shm": False, ".head": False}
"""Files that belong to a database while it is open, and whether commits stand in them."""


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """A file that no other process of ours has open; `writer` is the one connection that may change it."""

    path: Path
    writer: sqlite3.Connection
    head: CommitHead | None
    places: FilesInPlace
    _lock: int

    @property
    def lost(self) -> StoreLost | None:
        """Why what is written now would not be found again, if that is so as far as anybody has looked."""
        return StoreLost(str(self.path), self.places.gone) if self.places.gone else None

    def look(self) -> str:
        """As `places.look`, and into the file: one that is overwritten in its place cannot be used any more either."""
        if not self.places.look() and os.pread(self._lock, len(MAGIC), 0) != MAGIC:
            self.places.gone = f"{self.path} was cut short or overwritten while it was open"
        return self.places.gone

    def close(self) -> None:
        """Once every connection is closed: forget the head if all commits are in the one file, and let others in."""
        if self.head is not None:
            self.head.close()
            if self._is_in_place() and not self.path.with_name(f"{self.path.name}-wal").exists():
                commit_head.forget(self.path)
        os.close(self._lock)

    def _is_in_place(self) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(self.path.stat(), os.fstat(self._lock))
        return False


def open_file(path: Path, migrations: Sequence[str], synchronous: Synchronous, verify_limit: int) -> DatabaseFile:
    """
    Lock the file, check it, and bring it to the newest schema.

    Only commits that are synced are counted: of others the newest may be lost with the power, and that is no damage.
    Raises StoreUnavailable, StoreTooNew or DataCorrupted; a file that is damaged or too new is left as it is.
    """
    with contextlib.ExitStack() as undo:
        lock = _lock(path)
        undo.callback(os.close, lock)
        try:
            inspect(path, verify_limit)
            connection = connect(path, synchronous)
            undo.callback(connection.close)
            _migrate(connection, path, migrations)
            number, _ = commit_head.told(connection)
        except sqlite3.DatabaseError as error:
            raise fault_of(path, error) from error
        try:
            head = commit_head.open_head(path, number) if synchronous == "FULL" else None
        except OSError as error:
            raise unusable(commit_head.head_path(path), error) from error
        places = _places(path, lock)
        undo.pop_all()
    return DatabaseFile(path, connection, head, places, lock)


def _places(path: Path, lock: int) -> FilesInPlace:
    """The file and what belongs to it, for their owner's eyes only."""
    places = FilesInPlace()
    places.note(path, lock, vital=True)
    for ending, vital in _BESIDE.items():
        beside = path.with_name(f"{path.name}{ending}")
        with contextlib.suppress(FileNotFoundError):
            keep_private(beside)
            places.note(beside, vital=vital)
    return places


def connect(path: Path, synchronous: Synchronous = "FULL") -> sqlite3.Connection:
    """A connection as all of ours are; raises sqlite3.DatabaseError."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE, cached_statements=256
    )
    connection.row_factory = sqlite3.Row
    try:
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _lock(path: Path) -> int:
    """The open file, kept from other processes until it is closed."""
    try:
        if not path.parent.exists():  # one that is there may hold other things, too
            make_private_folder(path.parent)
        lock = open_private(path, os.O_RDWR)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        take(lock)
    except Taken as taken:
        os.close(lock)
        who = f"another process (pid {taken.pid})" if taken.pid else "another process"
        remedy = f"{taken.remedy}, or give this one a path of its own"
        raise StoreUnavailable(str(path), f"{who} has it open", remedy) from taken
    return lock


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StoreTooNew(str(path), version, len(migrations))
    connection.executescript(f"BEGIN;{commit_head.SCHEMA};COMMIT;")
    for number, script in enumerate(migrations[version:], start=version + 1):
        connection.executescript(f"BEGIN;{script};PRAGMA user_version={number};{commit_head.MIGRATED};COMMIT;")
    connection.execute("UPDATE commit_head SET shape = ? WHERE shape = 0", (shape(connection),))
