"""Executions and their histories: begun, gone on with, read."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow, SlotRow, Standing
from forgemesh.orchestrator.execution.ports.starts import Begin, Created, Request, Wanted
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.values.shard import Shard

PAGE_BYTES = 4 << 20
"""Of events that are read at a time."""


class HistoryStore(Protocol):
    """
    Keeps executions. What is written names the shard with its owner's epoch, and is refused as a whole, with
    StoreUnavailable, once another owner has replaced that one; what is read names ids of shards.
    """

    async def create(self, wanted: Wanted, begin: Begin, settled: Callable[[Future[Created]], None]) -> Created:
        """
        Write an execution and its first events; raises ExecutionExists, RequestIdReused, ClaimedBefore, or as `begin`.

        `begin` is asked for both in the very moment in which the write is queued, after everything that was queued
        before and before everything that is queued later: what it finds in memory still holds once the write is
        durable. It is not asked if nothing has to be written. If the request allows it, an ended execution of the same
        id is renamed. `settled` is told what became of the write in that moment, also if the caller has gone away
        meanwhile; it is not called if nothing had to be written.
        """

    async def started_by(self, namespace: str, request: Request) -> Created | None:
        """The execution that a request with this id got before; raises RequestIdReused."""

    def append(self, key: int, shard: Shard, events: Sequence[Event], standing: Standing | None) -> Future[int]:
        """
        Write an execution's next events, and where it stands if that has changed, in one transaction; returns the last
        event's position in the whole store. Raises WriteConflict unless the first of them follows the last one there
        is.
        """

    def append_answered(
        self, key: int, shard: Shard, events: Sequence[Event], standing: Standing | None, answer: Recorded
    ) -> Future[int]:
        """The same, with the answer that somebody gets for what is in `events`."""

    async def find(self, namespace: str, execution_id: str, run_id: str = "") -> ExecutionRow | None:
        """That run, also if it has been renamed since it had the id; without one, the execution that has the id."""

    async def find_run(self, run_id: str) -> ExecutionRow | None: ...

    async def claims(self, origin_run: str) -> dict[str, str]:
        """Which effects of a run were claimed, and by which run; raises DataCorrupted."""

    async def open_executions(self, shards: Collection[int]) -> list[ExecutionRow]: ...

    async def slots(self, shards: Collection[int]) -> list[SlotRow]:
        """Of all open executions in them with a concurrency key, the oldest first."""

    async def events(self, key: int, from_sequence: int, limit: int) -> list[Event]:
        """
        In sequence, and none if there are none; fewer than `limit` if they are larger together than PAGE_BYTES, which
        the last one may exceed. Raises DataCorrupted.
        """
