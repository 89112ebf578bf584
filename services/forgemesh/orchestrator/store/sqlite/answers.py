"""Answers that request ids have got: found, recorded, forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from forgemesh.faults.workflow import RequestIdReused
from forgemesh.orchestrator.execution.ports.starts import Created, Request
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.store.sqlite.execution_rows import ROW, from_row
from forgemesh.orchestrator.store.sqlite.schema import ANSWER, check, checksum
from forgemesh.orchestrator.values.digest import is_digest

_BY_REQUEST = f"SELECT {', '.join(ANSWER)}, checksum FROM answer WHERE namespace = ? AND request_id = ?"  # noqa: S608


def answer_row(answer: Recorded) -> tuple[object, ...]:
    """For schema.NEW_ANSWER."""
    values = (
        answer.namespace,
        answer.request_id,
        answer.content,
        answer.execution_key,
        answer.schedule_key,
        answer.at,
    )
    return (*values, checksum(values))


def started_by(connection: sqlite3.Connection, namespace: str, request: Request) -> Created | None:
    """
    The execution that a request with this id has got; raises RequestIdReused if it asked for something else.

    None also for one that an older release has started, if what that would have kept of the request cannot be told.
    """
    if not request.request_id:
        return None
    sql = f"{ROW} WHERE namespace = ? AND request_id = ? AND request_id <> ''"
    row = connection.execute(sql, (namespace, request.request_id)).fetchone()
    if row is not None:
        found = from_row(row)
        content = _as_kept(row["request_hash"], request)
        if content is None:
            return None
        if content != row["request_hash"]:
            raise RequestIdReused(request.request_id, found.execution_id)
        return Created(found.key, found.execution_id, False, 0, found.run_id)
    answer = answered(connection, namespace, request.request_id)
    if answer is None:
        return None
    row = connection.execute(f"{ROW} WHERE key = ?", (answer.execution_key,)).fetchone()
    if row is None or answer.content != request.content:
        raise RequestIdReused(request.request_id, row["execution_id"] if row is not None else "")
    given = from_row(row)
    return Created(given.key, given.execution_id, False, 0, given.run_id)


def answered(connection: sqlite3.Connection, namespace: str, request_id: str) -> Recorded | None:
    """What is on record apart from executions that a request created."""
    row = connection.execute(_BY_REQUEST, (namespace, request_id)).fetchone()
    if row is None:
        return None
    check(row, ANSWER, "checksum", f"answer to request {request_id!r}")
    return Recorded(
        namespace=row["namespace"],
        request_id=row["request_id"],
        content=row["content"],
        at=row["given_at"],
        execution_key=row["execution"],
        schedule_key=row["schedule"],
    )


def has_started(connection: sqlite3.Connection, namespace: str, request_id: str) -> str:
    """The id of the execution that a request with this id has created; empty: none."""
    sql = "SELECT execution_id FROM execution WHERE namespace = ? AND request_id = ? AND request_id <> ''"
    row = connection.execute(sql, (namespace, request_id)).fetchone()
    return row["execution_id"] if row is not None else ""


def _as_kept(kept: str, request: Request) -> str | None:
    """What the release that kept this would have kept of the request."""
    if is_digest(kept) or not is_digest(request.content):
        return request.content
    earlier: Callable[[], str] | None = request.earlier_content
    return earlier() if earlier is not None else None
