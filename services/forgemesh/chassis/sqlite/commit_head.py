"""The number of a database's last commit, noted beside it so that the loss of commits shows."""

from __future__ import annotations

import contextlib
import mmap
import os
import sqlite3
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.private_files import open_private
from forgemesh.chassis.regular_file import read_file

SCHEMA = """
    CREATE TABLE IF NOT EXISTS commit_head (
        one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, shape INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO commit_head VALUES (1, 0, 0);
"""
"""One row in the database: the number of its last commit, and a checksum over its tables."""

MIGRATED = "UPDATE commit_head SET number = number + 1, shape = 0"
"""Part of a migration: a commit, after which the checksum is not known."""

_MAGIC = b"FMH1"
_NOTE = struct.Struct("<4sQI")


@dataclass(slots=True)
class CommitHead:
    """
    Counts commits inside the database, and after each of them notes the number in a small file beside it.

    The file is mapped memory that nobody syncs: a note costs no system call, survives the death of the process, and
    may get lost with the power. It may thus be behind the database; it is ahead only if commits are gone.
    """

    path: Path
    number: int
    _memory: mmap.mmap

    def count(self, connection: sqlite3.Connection) -> None:
        """Part of the transaction that is about to be committed."""
        connection.execute("UPDATE commit_head SET number = ?", (self.number + 1,))

    def note(self) -> None:
        """The transaction is committed."""
        self.number += 1
        self._memory[: _NOTE.size] = _packed(self.number)

    def close(self) -> None:
        self._memory.close()


def head_path(database: Path) -> Path:
    return database.with_name(f"{database.name}.head")


def noted(database: Path) -> int:
    """The number of the last commit that was noted; 0 if there is no note, or none that can be read."""
    try:
        content = read_file(head_path(database))[: _NOTE.size]
    except OSError:
        return 0
    if len(content) < _NOTE.size:
        return 0
    _, number, _ = _NOTE.unpack(content)
    return int(number) if content == _packed(number) else 0


def told(connection: sqlite3.Connection) -> tuple[int, int]:
    """The number of the last commit and the checksum, as the database tells them; 0 for what it does not tell."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'commit_head'").fetchone():
        return 0, 0
    sql = "SELECT coalesce(CAST(number AS INTEGER), 0), coalesce(CAST(shape AS INTEGER), 0) FROM commit_head"
    number, shape = connection.execute(sql).fetchone() or (0, 0)
    return number, shape


def open_head(database: Path, number: int) -> CommitHead:
    """A head at `number`, whatever was noted before; raises OSError."""
    path = head_path(database)
    file = open_private(path, os.O_RDWR)
    try:
        os.pwrite(file, _packed(number), 0)  # takes its place on the disk now: a mapped hole would need it later
        return CommitHead(path, number, mmap.mmap(file, _NOTE.size))
    finally:
        os.close(file)


def forget(database: Path) -> None:
    """Remove the note, for a database that was closed in order: all it holds is in one file."""
    with contextlib.suppress(FileNotFoundError):
        head_path(database).unlink()


def _packed(number: int) -> bytes:
    return _NOTE.pack(_MAGIC, number, zlib.crc32(number.to_bytes(8, "little")))
