"""Outputs of earlier calls in SQLite."""

from __future__ import annotations

import sqlite3

import msgspec

from forgemesh.chassis.sqlite.database import Database, Work
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.store.sqlite.schema import check, checksum
from forgemesh.orchestrator.values.payload import Payload

_COLUMNS = (
    "key",
    "plugin_id",
    "plugin_version",
    "manifest_digest",
    "media_type",
    "metadata",
    "output",
    "expires_at",
)
MOST = 64
"""Providers whose outputs are looked at for one question."""


class KeptResults:
    """The part of the store that keeps outputs for calls that ask for the same again."""

    _database: Database
    fence: Work[None]

    async def cached(self, key: bytes, now: int) -> list[KeptResult]:
        """See ports.Store."""

        def work(connection: sqlite3.Connection) -> list[KeptResult]:
            sql = "SELECT * FROM kept_result WHERE key = ? AND expires_at > ? ORDER BY expires_at DESC LIMIT ?"
            return [_kept(row) for row in connection.execute(sql, (key, now, MOST))]

        return await self._database.read(work)

    async def keep_result(self, key: bytes, kept: KeptResult, expires_at: int) -> None:
        """See ports.Store."""
        output = kept.output
        metadata = msgspec.json.encode(dict(output.metadata), order="sorted").decode()
        provider = (kept.plugin_id, kept.plugin_version, kept.manifest_digest)
        values = (key, *provider, output.media_type, metadata, output.data, expires_at)

        def work(connection: sqlite3.Connection) -> None:
            sql = "INSERT OR REPLACE INTO kept_result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            connection.execute(sql, (*values, checksum(values)))

        await self._database.write(work, guard=self.fence)

    async def drop_expired_results(self, now: int) -> None:
        """See ports.Store."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM kept_result WHERE expires_at <= ?", (now,))

        await self._database.write(work, guard=self.fence)


def _kept(row: sqlite3.Row) -> KeptResult:
    """Raises DataCorrupted."""
    check(row, _COLUMNS, "checksum", f"kept result {row['key'].hex()[:16]}")
    metadata = msgspec.json.decode(row["metadata"], type=dict[str, str])
    output = Payload(row["output"], row["media_type"], metadata)
    return KeptResult(row["plugin_id"], row["plugin_version"], row["manifest_digest"], output)
