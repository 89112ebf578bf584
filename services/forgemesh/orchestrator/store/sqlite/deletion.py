"""Executions that leave the database, or their id."""

from __future__ import annotations

import sqlite3

from forgemesh.orchestrator.store.sqlite.schema import FACTS, checksum

MAX_RENAMES = 1_000_000
_NEWEST_BEYOND = (
    "SELECT ended_at, key FROM execution WHERE ended_at > 0 ORDER BY ended_at DESC, key DESC LIMIT 1 OFFSET ?"
)
_EXPIRED = (
    "SELECT key FROM execution WHERE ended_at > 0 AND (ended_at, key) < (?, ?) AND NOT (parent_id <> '' AND ("
    "EXISTS (SELECT 1 FROM execution AS parent WHERE parent.run_id = execution.parent_run AND parent.run_id <> ''"
    " AND parent.ended_at = 0) OR (execution.parent_run <> ''"
    " AND NOT EXISTS (SELECT 1 FROM execution AS parent WHERE parent.run_id = execution.parent_run"
    " AND parent.run_id <> '')"
    " AND EXISTS (SELECT 1 FROM execution AS parent WHERE parent.namespace = execution.namespace"
    " AND parent.execution_id = execution.parent_id AND parent.ended_at = 0)))) ORDER BY ended_at, key LIMIT ?"
)
_LAST = (
    "SELECT max(coalesce((SELECT max({column}) FROM {table}), 0),"
    " coalesce((SELECT position FROM progress WHERE name = '{table}'), 0))"
)
_LAST_KEY, _LAST_POSITION = (
    _LAST.format(column=column, table=table) for table, column in (("execution", "key"), ("event", "position"))
)


def last_given(connection: sqlite3.Connection) -> tuple[int, int]:
    """The highest key of an execution and position of an event that ever were, deleted ones included."""
    key, position = connection.execute(f"SELECT ({_LAST_KEY}), ({_LAST_POSITION})").fetchone()
    return key, position


def _keep_last_given(connection: sqlite3.Connection) -> None:
    """What has been given is not given again, although nothing that has it is left."""
    key, position = last_given(connection)
    sql = "INSERT OR REPLACE INTO progress VALUES ('execution', ?), ('event', ?)"
    connection.execute(sql, (key, position))


def delete(connection: sqlite3.Connection, key: int) -> None:
    """
    Forget an execution, its history, and the large payloads that nobody else uses.

    What it has claimed of its origin stays claimed: nobody knows any more whether it was undone.
    """
    _keep_last_given(connection)
    connection.execute(
        "DELETE FROM blob WHERE hash IN (SELECT hash FROM blob_use WHERE execution = ?)"
        " AND NOT EXISTS (SELECT 1 FROM blob_use WHERE blob_use.hash = blob.hash AND execution <> ?)",
        (key, key),
    )
    connection.execute("DELETE FROM blob_use WHERE execution = ?", (key,))
    connection.execute("DELETE FROM event WHERE execution = ?", (key,))
    connection.execute("DELETE FROM answer WHERE execution = ? AND execution > 0", (key,))
    connection.execute(
        "DELETE FROM effect_claim WHERE origin_run = (SELECT run_id FROM execution WHERE key = ?)", (key,)
    )
    connection.execute("DELETE FROM execution WHERE key = ?", (key,))


def expired(connection: sqlite3.Connection, ended_before: int, keep: int, limit: int) -> list[int]:
    """
    Keys of ended executions that are too old or too many, the oldest first.

    A child stays as long as its parent is open: the parent may have to ask for its end once more after a crash. So does
    one whose parent is not here, as an import's, as long as what bears its name is open: that may be an import of it.
    """
    before, key_before = ended_before, 0
    if keep:
        newest_beyond = connection.execute(_NEWEST_BEYOND, (keep,)).fetchone()
        if newest_beyond is not None and newest_beyond["ended_at"] >= ended_before:
            before, key_before = newest_beyond["ended_at"], newest_beyond["key"] + 1
    return [row["key"] for row in connection.execute(_EXPIRED, (before, key_before, limit))]


def rename(connection: sqlite3.Connection, key: int) -> None:
    """Give an ended execution, if it is still there, the first free id of its own with "~1", "~2", ... behind it."""
    row = connection.execute(f"SELECT {', '.join(FACTS)} FROM execution WHERE key = ?", (key,)).fetchone()  # noqa: S608
    if row is None:
        return
    taken = "SELECT 1 FROM execution WHERE namespace = ? AND execution_id = ?"
    for number in range(1, MAX_RENAMES):
        name = f"{row['execution_id']}~{number}"
        if connection.execute(taken, (row["namespace"], name)).fetchone() is None:
            break
    values = [name if column == "execution_id" else row[column] for column in FACTS]
    sql = "UPDATE execution SET execution_id = ?, checksum = ? WHERE key = ?"
    connection.execute(sql, (name, checksum(values), key))
