"""Executions as schedules start, stop and follow them."""

from __future__ import annotations

from collections.abc import Callable

from forgemesh.orchestrator.application.controls import Controls
from forgemesh.orchestrator.application.starts import StartRequest, Starts
from forgemesh.orchestrator.domain.events import Origin
from forgemesh.orchestrator.domain.state import ExecutionState
from forgemesh.orchestrator.ports import ExecutionFilter, ExecutionOrder, Store
from forgemesh.orchestrator.schedule_ports import ScheduledStart

PAGE = 500


class ScheduledExecutions:
    """See schedule_ports.Starter."""

    def __init__(self, store: Store, starts: Starts, controls: Controls) -> None:
        self._store = store
        self._starts = starts
        self._controls = controls
        self._listeners: list[Callable[[str, str], None]] = []

    async def start(self, start: ScheduledStart) -> None:
        request = StartRequest(
            namespace=start.namespace,
            workflow=start.workflow,
            version=start.version,
            execution_id=start.execution_id,
            request_id=start.request_id,
            input=start.input,
            priority=start.priority,
            origin=Origin(schedule_id=start.schedule_id),
            linked_span=start.linked_span,
        )
        await self._starts.start(request)

    async def cancel(self, namespace: str, execution_id: str, reason: str) -> None:
        await self._controls.cancel(namespace, execution_id, "", reason)

    async def terminate(self, namespace: str, execution_id: str, reason: str) -> None:
        await self._controls.terminate(namespace, execution_id, "", reason)

    async def open_executions(self, namespace: str, schedule_id: str) -> list[str]:
        wanted = ExecutionFilter(namespace=namespace, schedule_id=schedule_id, open_only=True)
        found: list[str] = []
        token = ""
        while True:
            page = await self._store.executions(wanted, ExecutionOrder.STARTED_ASCENDING, token, PAGE)
            found += [row.execution_id for row in page.rows]
            token = page.next_token
            if not token:
                return found

    def on_ended(self, listener: Callable[[str, str], None]) -> None:
        self._listeners.append(listener)

    def ended(self, state: ExecutionState) -> None:
        """An execution has ended, and that is durable."""
        origin = state.started.origin if state.started is not None else None
        if origin is not None and origin.schedule_id:
            for listener in self._listeners:
                listener(state.namespace, origin.schedule_id)
