"""Executions and events as the contract has them written."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import Any

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow, Standing
from forgemesh.orchestrator.execution.ports.starts import Created, NewExecution, Request, Wanted
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import Shard
from tests.component.store_contract.adapters import Owned

STARTED = e.ExecutionStarted(
    workflow="w", workflow_version="1.0.0", content_hash="h", input=Payload(b"{}"), trace_id=b"t" * 16
)
FIRST = (Event(1, 10, STARTED), Event(2, 11, e.AttemptStarted("a", 1, Payload(b"{}"))))
NEWEST = ExecutionOrder.STARTED_DESCENDING


def step(sequence: int, payload: Payload | None = None) -> Event:
    """An event that may stand anywhere; with a payload it is as large as that."""
    if payload is None:
        return Event(sequence, 12, e.StepUnblocked("a", 1))
    return Event(sequence, 12, e.AttemptStarted("a", sequence, payload))


def new(shard: Shard, execution_id: str = "e", request_id: str = "", content: str = "c", **facts: Any) -> NewExecution:
    known: dict[str, Any] = {
        "shard": shard,
        "namespace": "default",
        "execution_id": execution_id,
        "workflow": "w",
        "workflow_version": "1.0.0",
        "started_at": 10,
        "trace_id": "ab",
        "request": Request(request_id, content, bool(execution_id)),
        "standing": Standing(Status.RUNNING),
    }
    return NewExecution(**(known | facts))


async def begin(owned: Owned, execution_id: str = "e", request_id: str = "", **facts: Any) -> Created:
    """Write an execution and its first two events."""
    content = facts.pop("content", "c")
    return await write(owned.store, new(owned.shard, execution_id, request_id, content, **facts))


async def write(store: Store, execution: NewExecution, events: Sequence[Event] = FIRST) -> Created:
    wanted = Wanted(execution.namespace, execution.execution_id, execution.request)
    return await store.create(wanted, lambda: (execution, events), nobody)


def nobody(written: Future[Created]) -> None:
    pass


async def ids(store: Store, order: ExecutionOrder = NEWEST, **wanted: Any) -> list[str]:
    """Of all pages, two executions each."""
    return [row.execution_id for row in await listed(store, order, **wanted)]


async def listed(store: Store, order: ExecutionOrder = NEWEST, **wanted: Any) -> list[ExecutionRow]:
    found: list[ExecutionRow] = []
    token = ""
    while True:
        part = await store.executions(ExecutionFilter(namespace="default", **wanted), order, token, 2)
        assert len(part.rows) <= 2
        found += part.rows
        token = part.next_token
        if not token:
            return found


async def sequences(store: Store, key: int) -> list[int]:
    return [event.sequence for event in await store.events(key, 1, 1000)]
