"""Outputs of earlier calls in SQLite."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod

from forgemesh.chassis.database import Database
from forgemesh.orchestrator.adapters.store.schema import check, checksum
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.ports import KeptResult

_COLUMNS = ("key", "plugin_version", "media_type", "output", "expires_at")


class KeptResults(ABC):
    """The part of the store that keeps outputs for calls that ask for the same again."""

    _database: Database

    @abstractmethod
    def fence(self, connection: sqlite3.Connection) -> None:
        """Refuse the write of an owner that was replaced."""

    async def cached(self, key: bytes, now: int) -> KeptResult | None:
        """See ports.Store."""

        def work(connection: sqlite3.Connection) -> KeptResult | None:
            sql = "SELECT * FROM kept_result WHERE key = ? AND expires_at > ?"
            row = connection.execute(sql, (key, now)).fetchone()
            if row is None:
                return None
            check(row, _COLUMNS, "checksum", f"kept result {key.hex()[:16]}")
            return KeptResult(row["plugin_version"], Payload(row["output"], row["media_type"]))

        return await self._database.read(work)

    async def keep_result(self, key: bytes, plugin_version: str, output: Payload, expires_at: int) -> None:
        """See ports.Store."""
        values = (key, plugin_version, output.media_type, output.data, expires_at)

        def work(connection: sqlite3.Connection) -> None:
            sql = "INSERT OR REPLACE INTO kept_result VALUES (?, ?, ?, ?, ?, ?)"
            connection.execute(sql, (*values, checksum(values)))

        await self._database.write(work, guard=self.fence)

    async def drop_expired_results(self, now: int) -> None:
        """See ports.Store."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM kept_result WHERE expires_at <= ?", (now,))

        await self._database.write(work, guard=self.fence)
