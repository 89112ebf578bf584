"""The databases that are held to the contract, and how each is opened and broken."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from forgemesh.chassis.sqlite.database import Database
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.schedules.ports import ScheduleStore
from forgemesh.orchestrator.store.sqlite.schedule_store import SqliteScheduleStore
from forgemesh.orchestrator.values.shard import Shard
from tests.component.orchestrator.orchestrators import database_at, store_over

NAMES = {
    "answer": "request_id",
    "definition": "name",
    "effect_claim": "path",
    "event": "position",
    "execution": "execution_id",
    "kept_result": "plugin_id",
    "schedule": "schedule_id",
    "schedule_run": "moment",
}
"""Tables, and the column that tells their records apart in a test."""


@dataclass(frozen=True, slots=True)
class Owned:
    """The stores of a process that owns the shard."""

    store: Store
    schedules: ScheduleStore
    shard: Shard


class Adapter(Protocol):
    """One database. What `change` and `lose` do to a record, a damaged disk does."""

    async def own(self) -> Owned:
        """Another process takes the shard over; the stores of those before go on as if they did not know."""

    async def change(self, table: str, column: str, name: int | str) -> None:
        """What stands in that column of the record of that name (NAMES)."""

    async def lose(self, execution: int, sequence: int) -> None:
        """An event."""


class SqliteAdapter:
    """See Adapter."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def own(self) -> Owned:
        store = await store_over(self._database)
        return Owned(store, SqliteScheduleStore(self._database, store.fence, store.damages), store.shard)

    async def change(self, table: str, column: str, name: int | str) -> None:
        changed = f"CASE typeof({column}) WHEN 'integer' THEN {column} + 1 WHEN 'blob' THEN x'00ff' ELSE 'x' END"
        sql = f"UPDATE {table} SET {column} = {changed} WHERE {NAMES[table]} = ?"
        await self._database.write(lambda connection: connection.execute(sql, (name,)))

    async def lose(self, execution: int, sequence: int) -> None:
        sql = "DELETE FROM event WHERE execution = ? AND sequence = ?"
        await self._database.write(lambda connection: connection.execute(sql, (execution, sequence)))


@contextlib.asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Adapter]:
    async with database_at(folder / "orchestrator.db") as database:
        yield SqliteAdapter(database)


ADAPTERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Adapter]]] = {"sqlite": sqlite}
