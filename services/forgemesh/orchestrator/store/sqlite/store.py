"""Executions and their histories in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from forgemesh.chassis.damages import Damages
from forgemesh.chassis.sqlite.database import Bulk, Database, Work
from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import ExecutionExists
from forgemesh.orchestrator.execution.facts import Event, ExecutionAdmitted, ExecutionQueued, ExecutionStarted
from forgemesh.orchestrator.execution.ports.histories import PAGE_BYTES
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder, Page
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow, SlotRow, Standing
from forgemesh.orchestrator.execution.ports.starts import (
    Begin,
    ClaimedBefore,
    Created,
    IdReuse,
    NewExecution,
    Request,
    Wanted,
)
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.events import event_from_stored, opened, stored_event
from forgemesh.orchestrator.store.sqlite.answers import answer_row, started_by
from forgemesh.orchestrator.store.sqlite.definition_rows import DefinitionRows
from forgemesh.orchestrator.store.sqlite.deletion import delete, expired, last_given, rename
from forgemesh.orchestrator.store.sqlite.execution_rows import ROW, from_row, new_row, page, standing_row
from forgemesh.orchestrator.store.sqlite.kept_results import KeptResults
from forgemesh.orchestrator.store.sqlite.ownership import fence_of, own
from forgemesh.orchestrator.store.sqlite.schema import (
    CLAIM,
    NEW_ANSWER,
    NEW_BLOB,
    NEW_BLOB_USE,
    NEW_CLAIM,
    NEW_EVENT,
    REOPENED,
    check,
    checksum,
)
from forgemesh.orchestrator.values.identifiers import id_before_renaming
from forgemesh.orchestrator.values.shard import SOLE, Shard
from forgemesh.orchestrator.workflow.definition import Definition

PAGE = 100


class SqliteStore(DefinitionRows, KeptResults):
    """
    See ports.Store. Every write is fenced: once another process has taken the file over, none is accepted.

    `shard` holds all executions; `fence` guards what belongs to none of them.
    """

    def __init__(
        self, database: Database, parse: Callable[[str, str], Definition], *, shard: Shard, key: int, position: int
    ) -> None:
        self._database = database
        self._parse = parse
        self._compiled: dict[tuple[str, str, str, str], Definition] = {}
        self._key = key
        self._position = position
        self._turn = 0
        self.shard = shard
        self._fences: dict[Shard, Work[None]] = {}
        self.fence = self._fence(shard)
        self.damages = Damages()

    async def create(self, wanted: Wanted, begin: Begin, settled: Callable[[Future[Created]], None]) -> Created:
        renamed: int | None = None
        if wanted.request.request_id or wanted.request.id_chosen:
            earlier, renamed = await self._earlier_start(wanted)
            if earlier is not None:
                return earlier
        new, events = begin()
        self._key += 1
        rows = [new_row(self._key, new), *self._event_rows(self._key, events), *_claim_rows(new)]
        created = Created(self._key, new.execution_id, True, self._position, new.run_id)
        if renamed is None:
            written = self._database.write_rows(rows, created, guard=self._fence(new.shard))
        else:
            written = self._database.write(_renaming(renamed, rows, created), guard=self._fence(new.shard))
        written.add_done_callback(settled)
        try:
            return await asyncio.shield(written)
        except WriteConflict:  # another request came first, between the look and the write
            earlier, renamed = await self._earlier_start(wanted)
            if earlier is not None:
                return earlier
            if renamed is not None:  # and has ended since
                raise ExecutionExists(wanted.execution_id) from None
            if new.claims:
                raise ClaimedBefore from None
            raise

    @property
    def damaged(self) -> tuple[str, ...]:
        return self.damages.messages

    async def started_by(self, namespace: str, request: Request) -> Created | None:
        return await self._database.read(lambda connection: started_by(connection, namespace, request))

    def append(self, key: int, shard: Shard, events: Sequence[Event], standing: Standing | None) -> Future[int]:
        rows = self._following(key, events, standing)
        return self._database.write_rows(rows, self._position, guard=self._fence(shard))

    def append_answered(
        self, key: int, shard: Shard, events: Sequence[Event], standing: Standing | None, answer: Recorded
    ) -> Future[int]:
        rows = [*self._following(key, events, standing), (NEW_ANSWER, answer_row(answer))]
        return self._database.write_rows(rows, self._position, guard=self._fence(shard))

    def _following(
        self, key: int, events: Sequence[Event], standing: Standing | None
    ) -> list[tuple[Bulk, tuple[object, ...]]]:
        rows = self._event_rows(key, events)
        if standing is not None:
            self._turn += 1
            rows.append(standing_row(self._turn, key, standing))
        return rows

    def _event_rows(self, key: int, events: Sequence[Event]) -> list[tuple[Bulk, tuple[object, ...]]]:
        rows: list[tuple[Bulk, tuple[object, ...]]] = []
        for event in events:
            self._position += 1
            body, blobs = stored_event(event)
            rows.append((NEW_EVENT, (self._position, key, event.sequence, body)))
            for digest, data in blobs.items():
                rows += ((NEW_BLOB, (digest, data)), (NEW_BLOB_USE, (key, digest)))
        return rows

    async def _earlier_start(self, wanted: Wanted) -> tuple[Created | None, int | None]:
        """What the same request started before, and what is to be renamed; raises for another's use of its ids."""

        def work(connection: sqlite3.Connection) -> tuple[Created | None, int | None]:
            earlier = started_by(connection, wanted.namespace, wanted.request)
            if earlier is not None:
                return earlier, None
            row = connection.execute(f"{ROW} {_BY_ID}", (wanted.namespace, wanted.execution_id)).fetchone()
            if row is None:
                return None, None
            found = from_row(row)
            if not _may_reuse(wanted.request.reuse, found.status):
                raise ExecutionExists(wanted.execution_id)
            return None, found.key

        return await self._database.look(work)

    async def find(self, namespace: str, execution_id: str, run_id: str = "") -> ExecutionRow | None:
        if not run_id:
            return await self._row(_BY_ID, (namespace, execution_id))
        row = await self._row("WHERE run_id = ? AND run_id <> '' AND namespace = ?", (run_id, namespace))
        if row is None or execution_id not in (row.execution_id, id_before_renaming(row.execution_id)):
            return None
        return row

    async def _row(self, clause: str, values: tuple[object, ...]) -> ExecutionRow | None:
        """Raises DataCorrupted, where lists leave it out."""

        def work(connection: sqlite3.Connection) -> ExecutionRow | None:
            row = connection.execute(f"{ROW} {clause}", values).fetchone()
            return from_row(row) if row is not None else None

        return await self._database.read(work)

    async def find_run(self, run_id: str) -> ExecutionRow | None:
        rows = await self._rows("WHERE run_id = ? AND run_id <> ''", (run_id,))
        return rows[0] if rows else None

    async def claims(self, origin_run: str) -> dict[str, str]:
        def work(connection: sqlite3.Connection) -> dict[str, str]:
            rows = connection.execute("SELECT * FROM effect_claim WHERE origin_run = ?", (origin_run,)).fetchall()
            for row in rows:
                check(row, CLAIM, "checksum", f"claim {origin_run}/{row['path']}")
            return {row["path"]: row["fork_run"] for row in rows}

        return await self._database.read(work)

    async def executions(self, wanted: ExecutionFilter, order: ExecutionOrder, token: str, limit: int) -> Page:
        return await self._database.read(lambda connection: page(connection, wanted, order, token, limit, self.damages))

    async def open_executions(self, shards: Collection[int]) -> list[ExecutionRow]:
        reopened = await self._rows(f"WHERE {REOPENED} ORDER BY key", (), shards)
        return [*reopened, *await self._rows("WHERE ended_at = 0 ORDER BY key", (), shards)]

    async def slots(self, shards: Collection[int]) -> list[SlotRow]:
        rows = await self._rows("WHERE ended_at = 0 AND concurrency_key <> '' ORDER BY key", (), shards)
        return [
            SlotRow(row.namespace, row.workflow, row.concurrency_key, row.execution_id, await self._is_granted(row))
            for row in rows
        ]

    async def _is_granted(self, row: ExecutionRow) -> bool:
        """
        Whether an open execution has its place. One that is paused may have none, or may have given up what it had when
        it was imported: its history says so, the last word of it.
        """
        if row.status not in (Status.PAUSING, Status.PAUSED):
            return row.status is not Status.QUEUED
        read, granted = 0, False
        try:
            while events := await self.events(row.key, read + 1, PAGE):
                read += len(events)
                for event in events:
                    if isinstance(event.fact, ExecutionStarted):
                        granted = not event.fact.queued
                    elif isinstance(event.fact, ExecutionAdmitted | ExecutionQueued):
                        granted = isinstance(event.fact, ExecutionAdmitted)
        except DataCorrupted:  # it is named when it cannot be taken up
            return True
        return granted

    async def executions_after(self, shard: int, position: int) -> list[ExecutionRow]:
        clause = "WHERE key IN (SELECT DISTINCT execution FROM event WHERE position > ?) ORDER BY key"
        return await self._rows(clause, (position,), {shard})

    async def _rows(
        self, clause: str, values: tuple[object, ...], shards: Collection[int] | None = None
    ) -> list[ExecutionRow]:
        """Those in `shards`, once they are known to be sound: one whose shard is damaged is named, not passed over."""

        def work(connection: sqlite3.Connection) -> list[ExecutionRow]:
            found = self.damages.sound(connection.execute(f"{ROW} {clause}", values), from_row)
            return [row for row in found if shards is None or row.shard in shards]

        return await self._database.read(work)

    async def events(self, key: int, from_sequence: int, limit: int) -> list[Event]:
        def work(connection: sqlite3.Connection) -> list[Event]:
            sql = "SELECT sequence, body FROM event WHERE execution = ? AND sequence >= ? ORDER BY sequence LIMIT ?"
            found: list[Event] = []
            size = 0
            for expected, row in enumerate(connection.execute(sql, (key, from_sequence, limit)), start=from_sequence):
                record = f"event {key}/{expected}"
                stored = opened(row["body"], record)
                blobs = _blobs(connection, stored.blobs) if stored.blobs else {}
                event = event_from_stored(stored, blobs, record)
                if not expected == row["sequence"] == event.sequence:
                    raise DataCorrupted(record, f"event {event.sequence} stands in its place")
                found.append(event)
                size += len(row["body"]) + sum(len(data) for data in blobs.values())
                if size > PAGE_BYTES:
                    break
            return found

        return await self._database.read(work)

    async def delete_execution(self, key: int, shard: Shard) -> None:
        await self._database.write(lambda connection: delete(connection, key), guard=self._fence(shard))

    async def forget_answers(self, given_before: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM answer WHERE schedule > 0 AND given_at < ?", (given_before,))

        await self._database.write(work, guard=self.fence)

    async def expired(self, ended_before: int, keep: int, limit: int) -> list[int]:
        return await self._database.read(lambda connection: expired(connection, ended_before, keep, limit))

    async def spans_sent(self, shard: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT spans_sent FROM shard WHERE id = ?", (shard,)).fetchone()
            return row[0] if row else 0

        return await self._database.read(work)

    async def mark_spans_sent(self, shard: Shard, position: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE shard SET spans_sent = ? WHERE id = ?", (position, shard.id))

        await self._database.write(work, guard=self._fence(shard))

    async def last_before(self, key: int, position: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            sql = "SELECT max(sequence) FROM event WHERE execution = ? AND position <= ?"
            return int(connection.execute(sql, (key, position)).fetchone()[0] or 0)

        return await self._database.read(work)

    def _fence(self, shard: Shard) -> Work[None]:
        """What refuses writes under an epoch of a shard that is not the present one; once made, always the same."""
        if shard not in self._fences:
            self._fences[shard] = fence_of(self._database.path, shard)
        return self._fences[shard]


_BY_ID = "WHERE namespace = ? AND execution_id = ?"


async def open_store(database: Database, parse: Callable[[str, str], Definition]) -> SqliteStore:
    """Start a new owner epoch; writes under older ones are refused from now on."""

    def work(connection: sqlite3.Connection) -> tuple[Shard, int, int]:
        return own(connection, SOLE), *last_given(connection)

    shard, key, position = await database.write(work)
    return SqliteStore(database, parse, shard=shard, key=key, position=position)


def _claim_rows(new: NewExecution) -> list[tuple[Bulk, tuple[object, ...]]]:
    values = ((claim.origin_run, claim.path, new.run_id) for claim in new.claims)
    return [(NEW_CLAIM, (*row, checksum(row))) for row in values]


def _renaming(
    key: int, rows: Sequence[tuple[Bulk, tuple[object, ...]]], created: Created
) -> Callable[[sqlite3.Connection], Created]:
    """Give an ended execution another id, and its own to a new one, in one transaction."""

    def work(connection: sqlite3.Connection) -> Created:
        rename(connection, key)
        for bulk, row in rows:
            bulk.run(connection, [row])
        return created

    return work


def _may_reuse(reuse: IdReuse, status: Status) -> bool:
    if reuse is IdReuse.ALLOW_DUPLICATE:
        return status.final
    return reuse is IdReuse.ALLOW_DUPLICATE_FAILED_ONLY and status.final and status is not Status.SUCCEEDED


def _blobs(connection: sqlite3.Connection, digests: Iterable[bytes]) -> Mapping[bytes, bytes]:
    rows = (
        connection.execute("SELECT hash, data FROM blob WHERE hash = ?", (digest,)).fetchone() for digest in digests
    )
    return {row["hash"]: row["data"] for row in rows if row is not None}
