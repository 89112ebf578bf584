"""Spans in SQLite."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from forgemesh.chassis.sqlite.database import Bulk, Database
from forgemesh.traces import codec
from forgemesh.traces.domain.span import Delivery, Growth, PageEnd, StoredSpan, growth_of
from forgemesh.traces.domain.summary import TraceSummary

MIGRATIONS = (
    """
    CREATE TABLE resource (
        id INTEGER PRIMARY KEY,
        body BLOB NOT NULL UNIQUE,
        seen REAL NOT NULL
    ) STRICT;
    CREATE TABLE trace (
        id INTEGER PRIMARY KEY,
        trace_id BLOB NOT NULL UNIQUE,
        execution_id TEXT NOT NULL,
        start_nano INTEGER NOT NULL,
        is_child INTEGER NOT NULL,
        name TEXT NOT NULL,
        end_nano INTEGER NOT NULL,
        spans INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        came REAL NOT NULL,
        touched REAL NOT NULL
    ) STRICT;
    CREATE INDEX trace_by_start ON trace (start_nano, trace_id);
    CREATE TABLE span (
        trace INTEGER NOT NULL,
        span_id BLOB NOT NULL,
        start_nano INTEGER NOT NULL,
        resource INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (trace, span_id)
    ) STRICT;
    CREATE TABLE execution (
        execution_id TEXT NOT NULL,
        trace INTEGER NOT NULL,
        PRIMARY KEY (execution_id, trace)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX execution_by_trace ON execution (trace);
    """,
)

PAGE_BYTES = 1024 * 1024
"""Bytes of spans in one page; as API messages they stay below what a channel carries."""

_RESOURCE = "SELECT id, seen FROM resource WHERE body = ?"
_NEW_RESOURCE = "INSERT INTO resource (body, seen) VALUES (?, ?)"
_SEEN = "UPDATE resource SET seen = ? WHERE id = ?"
_KNOWN = "SELECT trace_id, id, execution_id, start_nano, is_child FROM trace WHERE trace_id IN"
_GROW = Bulk(
    "INSERT INTO trace VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    """
    ON CONFLICT (id) DO UPDATE SET
        end_nano = max(end_nano, excluded.end_nano),
        spans = spans + excluded.spans,
        errors = errors + excluded.errors,
        touched = excluded.touched
    """,
)
_BEGINS = "UPDATE trace SET start_nano = ?, is_child = ?, name = ? WHERE id = ?"
_NAMES_EXECUTION = "UPDATE trace SET execution_id = ? WHERE id = ?"
_EXECUTES = Bulk("INSERT OR IGNORE INTO execution VALUES", "(?, ?)")
_ADD = Bulk("INSERT OR IGNORE INTO span VALUES", "(?, ?, ?, ?, ?)")
_REPLACE = Bulk("INSERT OR REPLACE INTO span VALUES", "(?, ?, ?, ?, ?)")
_COUNTED_AFRESH = """
    UPDATE trace SET start_nano = ?, is_child = ?, name = ?, end_nano = ?, spans = ?, errors = ? WHERE id = ?
"""
_SPANS = """
    SELECT span.start_nano, span.span_id, span.body, coalesce(resource.body, x'')
    FROM trace JOIN span ON span.trace = trace.id LEFT JOIN resource ON resource.id = span.resource
    WHERE trace.trace_id = ? AND (span.start_nano, span.span_id) > (?, ?)
    ORDER BY span.start_nano, span.span_id
"""
_TRACE_OF = """
    SELECT trace_id FROM trace WHERE id = (SELECT max(trace) FROM execution WHERE execution_id = ?)
"""
_NEWEST = """
    SELECT trace_id, execution_id, name, start_nano, end_nano, spans, errors
    FROM trace WHERE (start_nano, trace_id) < (?, ?) ORDER BY start_nano DESC, trace_id DESC LIMIT ?
"""
_FIRST_COME = "SELECT id, spans, came, touched FROM trace ORDER BY id"
_REMOVE = (
    "DELETE FROM span WHERE trace = ?",
    "DELETE FROM execution WHERE trace = ?",
    "DELETE FROM trace WHERE id = ?",
)
_FORGET = """
    DELETE FROM resource WHERE seen < :unseen AND id NOT IN (
        SELECT resource FROM span WHERE trace IN (SELECT id FROM trace WHERE came < :unseen)
    )
"""

_MOST_ASKED = 1024
_SEEN_INTERVAL = 60.0
_Row: TypeAlias = tuple[int, bytes, int, int, bytes]
_BEFORE_ALL = PageEnd(-1, b"")
_AFTER_ALL = PageEnd(2**63 - 1, b"\xff" * 17)


class _Known(NamedTuple):
    """What the row of a trace says before it grows."""

    id: int
    execution_id: str
    start: int
    is_child: int


class SqliteSpanStore:
    """
    A SpanStore.

    One row for each trace keeps what a list shows, so that a list never reads spans. New spans are counted as
    they come; when spans come again, their traces are counted afresh.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, deliveries: Sequence[Delivery], now: float) -> None:
        growth = growth_of(span for delivery in deliveries for span in delivery.spans)

        def work(connection: sqlite3.Connection) -> None:
            traces = _grow(connection, growth, now)
            rows = _rows(connection, deliveries, traces, now)
            changes = connection.total_changes
            _ADD.run(connection, rows)
            if connection.total_changes - changes < len(rows):
                _REPLACE.run(connection, rows)
                for trace in traces.values():
                    _count_afresh(connection, trace)

        await self._database.write(work)

    async def spans_of(self, trace_id: bytes, after: PageEnd | None) -> tuple[list[StoredSpan], bool]:
        def work(connection: sqlite3.Connection) -> tuple[list[StoredSpan], bool]:
            found: list[StoredSpan] = []
            size = 0
            for row in connection.execute(_SPANS, (trace_id, *(after or _BEFORE_ALL))):
                if size >= PAGE_BYTES:
                    return found, True
                found.append(StoredSpan(*row))
                size += len(found[-1].body)
            return found, False

        return await self._database.read(work)

    async def trace_of(self, execution_id: str) -> bytes | None:
        def work(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(_TRACE_OF, (execution_id,)).fetchone()
            return bytes(row[0]) if row else None

        return await self._database.read(work)

    async def newest(self, after: PageEnd | None, limit: int) -> list[TraceSummary]:
        def work(connection: sqlite3.Connection) -> list[TraceSummary]:
            rows = connection.execute(_NEWEST, (*(after or _AFTER_ALL), limit))
            return [TraceSummary(*row) for row in rows]

        return await self._database.read(work)

    async def count(self) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT coalesce(sum(spans), 0) FROM trace").fetchone()[0])

        return await self._database.read(work)

    async def remove_untouched(self, before: float, spans: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            old = itertools.takewhile(lambda row: row["came"] < before, connection.execute(_FIRST_COME))
            return _remove(connection, (row for row in old if row["touched"] < before), spans)

        return await self._database.write(work)

    async def remove_oldest(self, spans: int) -> int:
        return await self._database.write(
            lambda connection: _remove(connection, connection.execute(_FIRST_COME), spans)
        )

    async def forget_resources(self, before: float) -> None:
        unseen = before - _SEEN_INTERVAL
        await self._database.write(lambda connection: connection.execute(_FORGET, {"unseen": unseen}).rowcount)


def _grow(connection: sqlite3.Connection, growth: dict[bytes, Growth], now: float) -> dict[bytes, int]:
    """
    Make the traces' rows or bring them up to date; returns their ids.

    Touches an index only where a trace is new, begins earlier than was known, or names another execution.
    """
    known = _known(connection, list(growth))
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM trace").fetchone()
    numbers = itertools.count(last + 1)
    traces: dict[bytes, int] = {}
    rows: list[tuple[object, ...]] = []
    executions: list[tuple[object, ...]] = []
    for trace_id, new in growth.items():
        found = known.get(trace_id)
        trace = traces[trace_id] = next(numbers) if found is None else found.id
        first = next(iter(new.executions), "")
        begin = (new.start, new.is_child, new.name)
        rows.append((trace, trace_id, first, *begin, new.end, new.spans, new.errors, now, now))
        executions += [(name, trace) for name in new.executions if found is None or name != found.execution_id]
        if found is not None:
            _amend(connection, found, new, first)
    _GROW.run(connection, rows)
    _EXECUTES.run(connection, executions)
    return traces


def _known(connection: sqlite3.Connection, trace_ids: list[bytes]) -> dict[bytes, _Known]:
    """The traces that have a row; asks for 2^n of them at once, so that few texts have to be prepared."""
    known: dict[bytes, _Known] = {}
    for start in range(0, len(trace_ids), _MOST_ASKED):
        asked = trace_ids[start : start + _MOST_ASKED]
        size = 1 << (len(asked) - 1).bit_length()
        asked += asked[-1:] * (size - len(asked))
        rows = connection.execute(f"{_KNOWN} ({', '.join('?' * size)})", asked)
        known |= {row[0]: _Known(*row[1:]) for row in rows}
    return known


def _amend(connection: sqlite3.Connection, known: _Known, new: Growth, execution: str) -> None:
    if (new.start, new.is_child) < (known.start, known.is_child):
        connection.execute(_BEGINS, (new.start, new.is_child, new.name, known.id))
    if execution and not known.execution_id:
        connection.execute(_NAMES_EXECUTION, (execution, known.id))


def _rows(
    connection: sqlite3.Connection, deliveries: Sequence[Delivery], traces: dict[bytes, int], now: float
) -> list[_Row]:
    rows: list[_Row] = []
    for delivery in deliveries:
        resource = _resource(connection, delivery.resource, now)
        rows += [(traces[span.trace_id], span.span_id, span.start, resource, span.body) for span in delivery.spans]
    return rows


def _resource(connection: sqlite3.Connection, body: bytes, now: float) -> int:
    """The row of the resource, noting at least once a minute that it is in use."""
    known = connection.execute(_RESOURCE, (body,)).fetchone()
    if known is None:
        row = connection.execute(_NEW_RESOURCE, (body, now)).lastrowid
        assert row is not None
        return row
    resource, seen = known
    if now - seen > _SEEN_INTERVAL:
        connection.execute(_SEEN, (now, resource))
    return int(resource)


def _count_afresh(connection: sqlite3.Connection, trace: int) -> None:
    bodies = connection.execute("SELECT body FROM span WHERE trace = ?", (trace,))
    for new in growth_of(codec.stored_span_of(body) for (body,) in bodies).values():
        row = (new.start, new.is_child, new.name, new.end, new.spans, new.errors, trace)
        connection.execute(_COUNTED_AFRESH, row)


def _remove(connection: sqlite3.Connection, rows: Iterable[sqlite3.Row], spans: int) -> int:
    """Remove traces in the order of `rows` until `spans` spans are gone; returns how many went."""
    traces: list[tuple[int]] = []
    removed = 0
    for row in rows:
        traces.append((row["id"],))
        removed += row["spans"]
        if removed >= spans:
            break
    for statement in _REMOVE:
        connection.executemany(statement, traces)
    return removed
