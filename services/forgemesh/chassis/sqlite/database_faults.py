"""What an error of SQLite means to whoever uses the database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import DataCorrupted, StoreUnavailable

_REMEDIES = {
    sqlite3.SQLITE_FULL: ("free space on its disk; it goes on by itself",),
    sqlite3.SQLITE_BUSY: ("end what holds a lock on it",),
    sqlite3.SQLITE_READONLY: ("let this user write to it",),
    sqlite3.SQLITE_CANTOPEN: ("let this user open it and create files beside it",),
}
_UNDECODABLE = "Could not decode to UTF-8"


def fault_of(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """DataCorrupted, StoreUnavailable or WriteConflict; the error itself if it is a bug of the caller."""
    code = code_of(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith(_UNDECODABLE):
        return DataCorrupted(str(path), str(error))
    if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:  # that one is bad SQL
        return StoreUnavailable(str(path), str(error), *_REMEDIES.get(code, ()))
    return WriteConflict(str(error)) if isinstance(error, sqlite3.IntegrityError) else error


def code_of(error: BaseException | None) -> int:
    """SQLite's primary result code; 0 if the error has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file itself, and not one text in it, is damaged."""
    return code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def closed(path: Path) -> StoreUnavailable:
    return StoreUnavailable(str(path), "this process is stopping and has closed it", "try again once it has restarted")


def unusable(path: Path, error: OSError) -> StoreUnavailable:
    cause = error.strerror or str(error)
    return StoreUnavailable(str(path), cause, "let this user write there, or name another path")
