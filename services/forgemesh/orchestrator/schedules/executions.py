"""Executions as schedules start, stop and follow them."""

from __future__ import annotations

from collections.abc import Callable

from forgemesh.chassis.subscribers import Subscribers
from forgemesh.faults.control import ConcurrencyExceeded
from forgemesh.faults.workflow import RequestIdReused
from forgemesh.orchestrator.execution.commands.controls import Controls
from forgemesh.orchestrator.execution.commands.starts import StartRequest, Starts
from forgemesh.orchestrator.execution.facts import Origin
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.queries.executions import Executions
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.schedules.ports import Opened, ScheduledStart
from forgemesh.orchestrator.schedules.schedule import Schedule
from forgemesh.orchestrator.values.identifiers import id_before_renaming

PAGE = 500
REFUSED_AT = 2
"""Sequence number of the end of an execution that got no place: nothing lies between it and the start."""


class ScheduledExecutions:
    """See schedule_ports.Starter."""

    def __init__(self, store: Store, starts: Starts, controls: Controls, executions: Executions) -> None:
        self._store = store
        self._starts = starts
        self._controls = controls
        self._executions = executions
        self._ended: Subscribers[[str, str]] = Subscribers("the end of an execution that a schedule had started")

    async def start(self, start: ScheduledStart) -> None:
        request = StartRequest(
            namespace=start.namespace,
            workflow=start.workflow,
            version=start.version,
            execution_id=start.execution_id,
            request_id=start.request_id,
            input=start.input,
            priority=start.priority,
            origin=Origin(schedule_id=start.schedule_id, schedule_incarnation=start.incarnation),
            linked_span=start.linked_span,
        )
        try:
            state, _ = await self._starts.start(request)
        except RequestIdReused as fault:  # it was started before a crash, and the plan's target was changed after it
            earlier = fault.metadata["execution_id"]
            if id_before_renaming(earlier) != start.execution_id:
                raise
            state = await self._executions.get(start.namespace, earlier)
        failure = state.failure
        if state.sequence == REFUSED_AT and failure is not None and failure.reason == ConcurrencyExceeded.reason:
            key = state.started.concurrency_key if state.started is not None else ""
            concurrency = state.definition.concurrency
            raise ConcurrencyExceeded(state.execution_id, key, concurrency.limit if concurrency is not None else 0)

    async def cancel(self, namespace: str, opened: Opened, reason: str) -> None:
        await self._controls.cancel(namespace, opened.execution_id, "", reason, run_id=opened.run_id)

    async def terminate(self, namespace: str, opened: Opened, reason: str) -> None:
        await self._controls.terminate(namespace, opened.execution_id, "", reason, run_id=opened.run_id)

    async def open_executions(self, schedule: Schedule) -> list[Opened]:
        wanted = ExecutionFilter(
            namespace=schedule.namespace,
            schedule_id=schedule.id,
            schedule_incarnation=schedule.incarnation,
            open_only=True,
        )
        found: list[Opened] = []
        token = ""
        while True:
            page = await self._store.executions(wanted, ExecutionOrder.STARTED_ASCENDING, token, PAGE)
            found += [Opened(row.execution_id, row.run_id) for row in page.rows]
            token = page.next_token
            if not token:
                return found

    def on_ended(self, listener: Callable[[str, str], None]) -> None:
        self._ended.add(listener)

    def ended(self, state: ExecutionState) -> None:
        """An execution has ended, and that is durable."""
        origin = state.started.origin if state.started is not None else None
        if origin is not None and origin.schedule_id:
            self._ended.tell(state.namespace, origin.schedule_id)
