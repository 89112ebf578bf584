"""A database during whose writes a virtual loop's time stands still."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import TypeVar

from forgemesh.chassis.sqlite.database import Bulk, Database, Work
from forgemesh.orchestrator.simulation.virtual_loop import VirtualLoop

T = TypeVar("T")


class AttendedDatabase(Database):
    """Passes everything on to `database`; reads go through an executor, which the loop attends to by itself."""

    def __init__(self, database: Database, loop: VirtualLoop) -> None:
        super().__init__(database.path, loop, database.file)
        self._behind = database
        self._virtual = loop

    def write(self, work: Work[T], *, guard: Work[None] | None = None) -> Future[T]:
        return self._virtual.attend(self._behind.write(work, guard=guard))

    def write_rows(
        self, rows: Sequence[tuple[Bulk, tuple[object, ...]]], result: T, *, guard: Work[None] | None = None
    ) -> Future[T]:
        return self._virtual.attend(self._behind.write_rows(rows, result, guard=guard))

    async def read(self, work: Work[T]) -> T:
        return await self._behind.read(work)

    async def look(self, work: Work[T]) -> T:
        return await self._behind.look(work)
