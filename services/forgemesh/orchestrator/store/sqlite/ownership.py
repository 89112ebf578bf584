"""Which process owns a shard: the one that raised its epoch last."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from forgemesh.chassis.sqlite.database import Work
from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.values.shard import Shard


def own(connection: sqlite3.Connection, shard: int) -> Shard:
    """The shard under a new epoch."""
    sql = "INSERT INTO shard VALUES (?, 1, 0) ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch"
    return Shard(shard, connection.execute(sql, (shard,)).fetchone()["epoch"])


def fence_of(path: Path, shard: Shard) -> Work[None]:
    """Raises StoreUnavailable, in the transaction that it guards, unless the shard is still at this epoch."""

    def fence(connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT epoch FROM shard WHERE id = ?", (shard.id,)).fetchone()
        if found is None or found["epoch"] != shard.epoch:
            now = f"epoch {found['epoch']}" if found is not None else "no epoch"
            cause = f"owner {now} has replaced epoch {shard.epoch}"
            raise StoreUnavailable(str(path), cause, "ask the orchestrator that owns it now")

    return fence
