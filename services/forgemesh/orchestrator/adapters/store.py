"""Definitions and histories in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import Callable, Iterable, Sequence

import semantic_version

from forgemesh.chassis.channel import MEBIBYTE
from forgemesh.chassis.database import Bulk, Database
from forgemesh.faults.service import StoreUnavailable
from forgemesh.faults.workflow import DefinitionConflict, ExecutionExists, RequestIdReused
from forgemesh.orchestrator.codec import event_from_stored, stored_event
from forgemesh.orchestrator.domain.definition import Definition
from forgemesh.orchestrator.domain.events import Event
from forgemesh.orchestrator.domain.state import Status
from forgemesh.orchestrator.ports import Created, ExecutionRow, NewExecution, Request, StoredDefinition

MIGRATIONS = (
    """
    CREATE TABLE definition (
        namespace TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        content_hash TEXT NOT NULL, source TEXT NOT NULL, created_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, name, version)
    ) WITHOUT ROWID;
    CREATE TABLE execution (
        key INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, execution_id TEXT NOT NULL,
        workflow TEXT NOT NULL, workflow_version TEXT NOT NULL,
        status TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
        trace_id TEXT NOT NULL, request_id TEXT NOT NULL, request_hash TEXT NOT NULL,
        UNIQUE (namespace, execution_id)
    );
    CREATE INDEX execution_open ON execution (key) WHERE status = 'RUNNING';
    CREATE INDEX execution_workflow ON execution (namespace, workflow, key);
    CREATE UNIQUE INDEX execution_request ON execution (namespace, request_id) WHERE request_id <> '';
    CREATE TABLE event (
        position INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
        UNIQUE (execution, sequence)
    );
    CREATE TRIGGER event_in_order BEFORE INSERT ON event
    WHEN NEW.sequence > 1
        AND NOT EXISTS (SELECT 1 FROM event WHERE execution = NEW.execution AND sequence = NEW.sequence - 1)
    BEGIN
        SELECT RAISE (ABORT, 'the event before it was not kept');
    END;
    CREATE TABLE progress (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
    INSERT INTO owner VALUES (1, 0);
    """,
)

_ROW = (
    "SELECT key, namespace, execution_id, workflow, workflow_version, status, started_at, ended_at, trace_id,"
    " (SELECT max(sequence) FROM event WHERE execution = key) AS sequence FROM execution"
)
_SPANS = "spans"
PAGE_BYTES = 4 * MEBIBYTE

_NEW_EXECUTION = Bulk("INSERT INTO execution VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
_NEW_EVENT = Bulk("INSERT INTO event VALUES", "(?, ?, ?, ?)")
_ENDED = Bulk(
    "WITH now (key, status, ended_at) AS (VALUES",
    "(?, ?, ?)",
    ") UPDATE execution SET status = now.status, ended_at = now.ended_at FROM now WHERE execution.key = now.key",
)


class SqliteStore:
    """See ports.Store. Every write is fenced: once another process has taken the file over, none is accepted."""

    def __init__(
        self, database: Database, parse: Callable[[str, str], Definition], *, epoch: int, key: int, position: int
    ) -> None:
        self._database = database
        self._parse = parse
        self._compiled: dict[tuple[str, str], Definition] = {}
        self._key = key
        self._position = position
        self.epoch = epoch

    async def keep_definition(self, definition: Definition, created_at: int) -> tuple[StoredDefinition, bool]:
        d = definition

        def work(connection: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = connection.execute(
                "SELECT * FROM definition WHERE namespace = ? AND name = ? AND version = ?",
                (d.namespace, d.name, d.version),
            ).fetchone()
            if row is None:
                values = (d.namespace, d.name, d.version, d.content_hash, d.source, created_at)
                connection.execute("INSERT INTO definition VALUES (?, ?, ?, ?, ?, ?)", values)
            elif row["content_hash"] != d.content_hash:
                raise DefinitionConflict(d.name, d.version, str(semantic_version.Version(d.version).next_minor()))
            return row

        kept = await self._database.write(work, guard=self._fence)
        if kept is not None:
            return StoredDefinition(self._compile(kept), kept["created_at"]), False
        self._compiled[d.namespace, d.content_hash] = d
        return StoredDefinition(d, created_at), True

    async def definition(self, namespace: str, name: str, version: str) -> StoredDefinition | None:
        rows = await self._definition_rows(namespace, name, version)
        return StoredDefinition(self._compile(rows[0]), rows[0]["created_at"]) if rows else None

    async def definitions(self, namespace: str, name: str) -> list[StoredDefinition]:
        rows = await self._definition_rows(namespace, name, "")
        return [StoredDefinition(self._compile(row), row["created_at"]) for row in rows]

    async def definition_names(self, namespace: str) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            sql = "SELECT DISTINCT name FROM definition WHERE namespace = ? ORDER BY name"
            return [row["name"] for row in connection.execute(sql, (namespace,))]

        return await self._database.read(work)

    async def _definition_rows(self, namespace: str, name: str, version: str) -> list[sqlite3.Row]:
        """By name, highest version first; of those that differ in their build alone, the newest."""

        def work(connection: sqlite3.Connection) -> list[sqlite3.Row]:
            where, values = "namespace = ?", [namespace]
            for column, value in (("name", name), ("version", version)):
                if value:
                    where, values = f"{where} AND {column} = ?", [*values, value]
            sql = f"SELECT * FROM definition WHERE {where}"  # noqa: S608
            return connection.execute(sql, values).fetchall()

        rows = await self._database.read(work)
        rows.sort(key=lambda row: row["created_at"], reverse=True)
        rows.sort(key=lambda row: semantic_version.Version(row["version"]), reverse=True)
        return sorted(rows, key=lambda row: row["name"])

    def _compile(self, row: sqlite3.Row) -> Definition:
        key = (row["namespace"], row["content_hash"])
        if key not in self._compiled:
            self._compiled[key] = self._parse(row["namespace"], row["source"])
        return self._compiled[key]

    async def create(
        self, new: NewExecution, events: Sequence[Event], settled: Callable[[Future[Created]], None]
    ) -> Created:
        if new.request.request_id or new.request.id_chosen:
            earlier = await self._earlier_start(new)
            if earlier is not None:
                return earlier
        self._key += 1
        rows = [(_NEW_EXECUTION, _execution_row(self._key, new)), *self._event_rows(self._key, events)]
        created = Created(self._key, new.execution_id, True, self._position)
        written = self._database.write_rows(rows, created, guard=self._fence)
        written.add_done_callback(settled)
        try:
            return await asyncio.shield(written)
        except sqlite3.IntegrityError:  # another request came first, between the look and the write
            earlier = await self._earlier_start(new)
            if earlier is None:
                raise
            return earlier

    async def started_by(self, namespace: str, request: Request) -> Created | None:
        return await self._database.read(lambda connection: _started_by(connection, namespace, request))

    def append(self, key: int, events: Sequence[Event], ended: tuple[Status, int] | None) -> Future[int]:
        rows = self._event_rows(key, events)
        if ended is not None:
            rows.append((_ENDED, (key, ended[0].value, ended[1])))
        return self._database.write_rows(rows, self._position, guard=self._fence)

    def _event_rows(self, key: int, events: Sequence[Event]) -> list[tuple[Bulk, tuple[object, ...]]]:
        rows: list[tuple[Bulk, tuple[object, ...]]] = []
        for event in events:
            self._position += 1
            rows.append((_NEW_EVENT, (self._position, key, event.sequence, stored_event(event))))
        return rows

    async def _earlier_start(self, new: NewExecution) -> Created | None:
        """What the same request started before; raises for another request's use of its ids."""

        def work(connection: sqlite3.Connection) -> Created | None:
            earlier = _started_by(connection, new.namespace, new.request)
            if earlier is not None:
                return earlier
            sql = "SELECT 1 FROM execution WHERE namespace = ? AND execution_id = ?"
            if connection.execute(sql, (new.namespace, new.execution_id)).fetchone() is not None:
                raise ExecutionExists(new.execution_id)
            return None

        return await self._database.read(work)

    async def find(self, namespace: str, execution_id: str) -> ExecutionRow | None:
        rows = await self._rows("WHERE namespace = ? AND execution_id = ?", (namespace, execution_id))
        return rows[0] if rows else None

    async def executions(
        self, namespace: str, workflow: str, status: Status | None, before: int, limit: int
    ) -> list[ExecutionRow]:
        where, values = ["namespace = ?"], [namespace]
        for clause, value in (("workflow = ?", workflow), ("status = ?", status.value if status else "")):
            if value:
                where.append(clause)
                values.append(value)
        clause = f"WHERE {' AND '.join(where)} AND key < ? ORDER BY key DESC LIMIT ?"
        return await self._rows(clause, (*values, before or (1 << 62), limit))

    async def open_executions(self) -> list[ExecutionRow]:
        return await self._rows("WHERE status = 'RUNNING' ORDER BY key", ())

    async def executions_after(self, position: int) -> list[ExecutionRow]:
        clause = "WHERE key IN (SELECT DISTINCT execution FROM event WHERE position > ?) ORDER BY key"
        return await self._rows(clause, (position,))

    async def _rows(self, clause: str, values: tuple[object, ...]) -> list[ExecutionRow]:
        def work(connection: sqlite3.Connection) -> list[ExecutionRow]:
            found = connection.execute(f"{_ROW} {clause}", values).fetchall()
            return [ExecutionRow(**{**dict(row), "status": Status(row["status"])}) for row in found]

        return await self._database.read(work)

    async def events(self, key: int, from_sequence: int, limit: int) -> list[Event]:
        def work(connection: sqlite3.Connection) -> list[sqlite3.Row]:
            sql = "SELECT sequence, body FROM event WHERE execution = ? AND sequence >= ? ORDER BY sequence LIMIT ?"
            return _some(connection.execute(sql, (key, from_sequence, limit)))

        rows = await self._database.read(work)
        return [event_from_stored(row["body"], f"event {key}/{row['sequence']}") for row in rows]

    async def spans_sent(self) -> int:
        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT position FROM progress WHERE name = ?", (_SPANS,)).fetchone()
            return row[0] if row else 0

        return await self._database.read(work)

    async def mark_spans_sent(self, position: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (_SPANS, position))

        await self._database.write(work, guard=self._fence)

    async def last_before(self, key: int, position: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            sql = "SELECT max(sequence) FROM event WHERE execution = ? AND position <= ?"
            return int(connection.execute(sql, (key, position)).fetchone()[0] or 0)

        return await self._database.read(work)

    def _fence(self, connection: sqlite3.Connection) -> None:
        (epoch,) = connection.execute("SELECT epoch FROM owner").fetchone()
        if epoch != self.epoch:
            cause = f"owner epoch {epoch} has replaced epoch {self.epoch}"
            raise StoreUnavailable(str(self._database.path), cause, "ask the orchestrator that owns it now")


async def open_store(database: Database, parse: Callable[[str, str], Definition]) -> SqliteStore:
    """Start a new owner epoch; writes under older ones are refused from now on."""

    def work(connection: sqlite3.Connection) -> tuple[int, int, int]:
        connection.execute("UPDATE owner SET epoch = epoch + 1")
        sql = "SELECT epoch, (SELECT max(key) FROM execution), (SELECT max(position) FROM event) FROM owner"
        epoch, key, position = connection.execute(sql).fetchone()
        return epoch, key or 0, position or 0

    epoch, key, position = await database.write(work)
    return SqliteStore(database, parse, epoch=epoch, key=key, position=position)


def _some(rows: Iterable[sqlite3.Row]) -> list[sqlite3.Row]:
    """As many of them as have PAGE_BYTES together."""
    found: list[sqlite3.Row] = []
    size = 0
    for row in rows:
        found.append(row)
        size += len(row["body"])
        if size > PAGE_BYTES:
            break
    return found


def _started_by(connection: sqlite3.Connection, namespace: str, request: Request) -> Created | None:
    sql = "SELECT key, execution_id, request_hash FROM execution WHERE namespace = ? AND request_id = ?"
    row = connection.execute(f"{sql} AND request_id <> ''", (namespace, request.request_id)).fetchone()
    if row is None:
        return None
    if row["request_hash"] != request.content:
        raise RequestIdReused(request.request_id, row["execution_id"])
    return Created(row["key"], row["execution_id"], False, 0)


def _execution_row(key: int, new: NewExecution) -> tuple[object, ...]:
    status, ended_at = (new.ended[0].value, new.ended[1]) if new.ended else (Status.RUNNING.value, 0)
    return (
        key,
        new.namespace,
        new.execution_id,
        new.workflow,
        new.workflow_version,
        status,
        new.started_at,
        ended_at,
        new.trace_id,
        new.request.request_id,
        new.request.content,
    )
