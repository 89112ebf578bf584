"""The real store, but for the moment at which its writes are told, or for a disk that is full for a while."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import TypeVar

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Begin, Created, NewExecution, Wanted
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.shard import Shard
from tests.component.orchestrator.orchestrators import store_over

T = TypeVar("T")


def asked(new: NewExecution, events: Sequence[Event]) -> tuple[Wanted, Begin]:
    """A start of which everything is known beforehand."""
    return Wanted(new.namespace, new.execution_id, new.request), lambda: (new, events)


class HeldStore(SqliteStore):
    """Writes, but tells nobody while it is `holding`."""

    def __init__(self, inner: SqliteStore) -> None:
        for name, value in vars(inner).items():
            setattr(self, name, value)
        self.written = asyncio.Event()
        self._held: list[Callable[[], None]] = []
        self.holding = True

    def hold(self) -> None:
        self.holding = True
        self.written.clear()

    def release(self) -> None:
        self.holding = False
        held, self._held = self._held, []
        for tell in held:
            tell()

    async def create(self, wanted: Wanted, begin: Begin, settled: Callable[[Future[Created]], None]) -> Created:
        told: Future[Created] = asyncio.get_running_loop().create_future()
        told.add_done_callback(settled)
        await super().create(wanted, begin, lambda written: self._hold(written, told))
        return await asyncio.shield(told)

    def append(self, key: int, shard: Shard, events: Sequence[Event], standing: Standing | None) -> Future[int]:
        told: Future[int] = asyncio.get_running_loop().create_future()
        super().append(key, shard, events, standing).add_done_callback(lambda written: self._hold(written, told))
        return told

    def _hold(self, written: Future[T], told: Future[T]) -> None:
        self._held.append(lambda: told.set_result(written.result()))
        self.written.set()
        if not self.holding:
            self.release()


class FailingStore(SqliteStore):
    """Refuses the next `failures` appends before they reach the disk; later ones are written."""

    def __init__(self, inner: SqliteStore) -> None:
        for name, value in vars(inner).items():
            setattr(self, name, value)
        self.failures = 0

    def append(self, key: int, shard: Shard, events: Sequence[Event], standing: Standing | None) -> Future[int]:
        if self.failures == 0:
            return super().append(key, shard, events, standing)
        self.failures -= 1
        failed: Future[int] = asyncio.get_running_loop().create_future()
        fault = StoreUnavailable("orchestrator.db", "disk full", "free space on its disk; it goes on by itself")
        asyncio.get_running_loop().call_soon(failed.set_exception, fault)
        return failed


async def held_store(database: Database) -> HeldStore:
    return HeldStore(await store_over(database))


async def failing_store(database: Database) -> FailingStore:
    return FailingStore(await store_over(database))
