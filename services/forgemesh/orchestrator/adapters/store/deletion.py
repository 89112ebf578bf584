"""Executions that leave the database, or their id."""

from __future__ import annotations

import sqlite3

from forgemesh.orchestrator.adapters.store.schema import FACTS, checksum

MAX_RENAMES = 1_000_000


def delete(connection: sqlite3.Connection, key: int) -> None:
    """Forget an execution, its history, and the large payloads that nobody else uses."""
    connection.execute(
        "DELETE FROM blob WHERE hash IN (SELECT hash FROM blob_use WHERE execution = ?)"
        " AND NOT EXISTS (SELECT 1 FROM blob_use WHERE blob_use.hash = blob.hash AND execution <> ?)",
        (key, key),
    )
    connection.execute("DELETE FROM blob_use WHERE execution = ?", (key,))
    connection.execute("DELETE FROM event WHERE execution = ?", (key,))
    connection.execute("DELETE FROM execution WHERE key = ?", (key,))


def expired(connection: sqlite3.Connection, ended_before: int, keep: int, limit: int) -> list[int]:
    """Keys of ended executions that are too old or too many, the oldest first."""
    sql = "SELECT key FROM execution WHERE ended_at > 0 AND ended_at < ? ORDER BY ended_at LIMIT ?"
    found = [row["key"] for row in connection.execute(sql, (ended_before, limit))]
    if keep and len(found) < limit:
        sql = "SELECT key FROM execution WHERE ended_at > 0 ORDER BY ended_at DESC, key DESC LIMIT ? OFFSET ?"
        beyond = [row["key"] for row in connection.execute(sql, (limit, keep))]
        found += [key for key in beyond if key not in found]
    return found[:limit]


def rename(connection: sqlite3.Connection, key: int) -> None:
    """Give an ended execution the first free id of its own with "~1", "~2", ... behind it."""
    row = connection.execute(f"SELECT {', '.join(FACTS)} FROM execution WHERE key = ?", (key,)).fetchone()  # noqa: S608
    taken = "SELECT 1 FROM execution WHERE namespace = ? AND execution_id = ?"
    for number in range(1, MAX_RENAMES):
        name = f"{row['execution_id']}~{number}"
        if connection.execute(taken, (row["namespace"], name)).fetchone() is None:
            break
    values = [name if column == "execution_id" else row[column] for column in FACTS]
    sql = "UPDATE execution SET execution_id = ?, checksum = ? WHERE key = ?"
    connection.execute(sql, (name, checksum(values), key))
