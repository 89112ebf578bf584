"""Rows of executions: written, read, and asked for."""

from __future__ import annotations

import sqlite3

from forgemesh.chassis.damages import Damages
from forgemesh.chassis.pages import key_before, token_after
from forgemesh.chassis.sqlite.database import Bulk
from forgemesh.faults import Violation
from forgemesh.faults.service import DataCorrupted, InvalidRequest
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder, Page
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow, Standing
from forgemesh.orchestrator.execution.ports.starts import NewExecution
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.sqlite.schema import (
    FACTS,
    IDENTITY,
    NEW_EXECUTION,
    STANDING,
    STANDING_CHANGED,
    check,
    checksum,
)

ROW = (
    f"SELECT {', '.join(FACTS)}, checksum, status, ended_at, incidents, standing_checksum,"  # noqa: S608
    f" {', '.join(IDENTITY[1:])}, shard, identity_checksum,"
    " (SELECT max(sequence) FROM event WHERE execution = key) AS sequence FROM execution"
)
_LAST, _BEFORE_SURROGATES, _AFTER_SURROGATES = "\U0010ffff", "\ud7ff", "\ue000"
"""No character follows on the first; between the others is none that a text may have."""
_NEVER = 1 << 62
"""Stands for the end of what is open."""
_END = f"CASE ended_at WHEN 0 THEN {_NEVER} ELSE ended_at END"
"""As the index has it."""


def new_row(key: int, new: NewExecution) -> tuple[Bulk, tuple[object, ...]]:
    """A new execution's row, with its statement."""
    facts = (
        key,
        new.namespace,
        new.execution_id,
        new.workflow,
        new.workflow_version,
        new.started_at,
        new.trace_id,
        new.request.request_id,
        new.request.content,
        new.priority,
        new.concurrency_key,
        new.parent_id,
        new.schedule_id,
    )
    identity = (key, new.run_id, new.parent_run, new.schedule_incarnation)
    standing, shard = _standing(key, new.standing), new.shard.id
    sealed = checksum((*identity, shard) if shard else identity)
    return NEW_EXECUTION, (*facts, checksum(facts), *standing[1:], *identity[1:], shard, sealed)


def standing_row(turn: int, key: int, standing: Standing) -> tuple[Bulk, tuple[object, ...]]:
    """Where an execution stands from this turn on, with its statement."""
    return STANDING_CHANGED, (turn, *_standing(key, standing))


def _standing(key: int, standing: Standing) -> tuple[object, ...]:
    values = (key, standing.status.value, standing.ended_at, standing.incidents)
    return (*values, checksum(values))


def from_row(row: sqlite3.Row) -> ExecutionRow:
    """Raises DataCorrupted."""
    record = f"execution {row['key']}"
    check(row, FACTS, "checksum", record)
    check(row, STANDING, "standing_checksum", record)
    check(row, (*IDENTITY, "shard") if row["shard"] else IDENTITY, "identity_checksum", record)
    if row["sequence"] is None:
        raise DataCorrupted(record, "it has no events")
    try:
        status = Status(row["status"])
    except ValueError as error:
        raise DataCorrupted(record, f"its status is {row['status']!r}") from error
    return ExecutionRow(
        key=row["key"],
        namespace=row["namespace"],
        execution_id=row["execution_id"],
        workflow=row["workflow"],
        workflow_version=row["workflow_version"],
        status=status,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        trace_id=row["trace_id"],
        sequence=row["sequence"],
        incidents=row["incidents"],
        priority=row["priority"],
        concurrency_key=row["concurrency_key"],
        parent_id=row["parent_id"],
        schedule_id=row["schedule_id"],
        run_id=row["run_id"],
        parent_run=row["parent_run"],
        schedule_incarnation=row["schedule_incarnation"],
        shard=row["shard"],
    )


def page(
    connection: sqlite3.Connection,
    wanted: ExecutionFilter,
    order: ExecutionOrder,
    token: str,
    limit: int,
    damages: Damages | None = None,
) -> Page:
    """
    One page of the executions that the filter fits, those that are damaged apart; raises InvalidRequest for a token of
    another order.
    """
    clauses, values = _where(wanted)
    by_end = order in (ExecutionOrder.ENDED_ASCENDING, ExecutionOrder.ENDED_DESCENDING)
    descending = order in (ExecutionOrder.STARTED_DESCENDING, ExecutionOrder.ENDED_DESCENDING)
    after = _after(token, order)
    compare = "<" if descending else ">"
    if after is not None:
        clauses.append(f"({_END}, key) {compare} (?, ?)" if by_end else f"key {compare} ?")
        values += list(after) if by_end else [after[1]]
    direction = "DESC" if descending else "ASC"
    sort = f"{_END} {direction}, key {direction}" if by_end else f"key {direction}"
    sql = f"{ROW} WHERE {' AND '.join(clauses)} ORDER BY {sort} LIMIT ?"
    rows = connection.execute(sql, (*values, limit + 1)).fetchall()
    more = len(rows) > limit
    rows = rows[:limit]
    token = token_after(order.value, str(rows[-1]["ended_at"] or _NEVER), str(rows[-1]["key"])) if more else ""
    return Page((damages or Damages()).sound(rows, from_row), token)


def _after(token: str, order: ExecutionOrder) -> tuple[int, int] | None:
    key = key_before(token, 3)
    if key is None:
        return None
    if key[0] != order.value or not all(part.isdecimal() and len(part) < 20 for part in key[1:]):
        raise InvalidRequest([Violation("page_token", "must come from an earlier response to the same question")])
    return int(key[1]), int(key[2])


def _where(wanted: ExecutionFilter) -> tuple[list[str], list[object]]:
    clauses, values = ["namespace = ?"], [wanted.namespace]
    found: list[tuple[str, tuple[object, ...]]] = []
    if wanted.workflows:
        found.append((f"workflow IN ({', '.join('?' * len(wanted.workflows))})", wanted.workflows))
    if wanted.statuses:
        names = tuple(status.value for status in wanted.statuses)
        found.append((f"status IN ({', '.join('?' * len(names))})", names))
    if wanted.id_prefix:
        found.append(("execution_id >= ?", (wanted.id_prefix,)))
        beyond = _beyond(wanted.id_prefix)
        found += [("execution_id < ?", (beyond,))] if beyond else []
    for clause, value in (
        ("workflow_version = ?", wanted.workflow_version),
        ("started_at >= ?", wanted.started_from),
        ("started_at < ?", wanted.started_before),
        ("parent_id = ? AND parent_id <> ''", wanted.parent_id),  # as the partial index says it
        ("parent_run = ?", wanted.parent_run),
        ("schedule_incarnation = ?", wanted.schedule_incarnation),
        ("schedule_id = ? AND schedule_id <> ''", wanted.schedule_id),
        ("concurrency_key = ? AND concurrency_key <> ''", wanted.concurrency_key),
    ):
        if value:
            found.append((clause, (value,)))
    clauses += [clause for clause, _ in found]
    if wanted.open_only:
        clauses.append("ended_at = 0")
    if wanted.incidents_only:
        clauses.append("incidents > 0")
    return clauses, [*values, *(value for _, given in found for value in given)]


def _beyond(prefix: str) -> str:
    """The first text after all that begin so; empty if there is none."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return ""
    following = _AFTER_SURROGATES if kept[-1] == _BEFORE_SURROGATES else chr(ord(kept[-1]) + 1)
    return kept[:-1] + following
