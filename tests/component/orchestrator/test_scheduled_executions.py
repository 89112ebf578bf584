"""Schedules over the real engine and store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from forgemesh.chassis.tasks import beside
from forgemesh.faults.workflow import ExecutionInputInvalid, RequestIdReused
from forgemesh.orchestrator.application.scheduled_executions import ScheduledExecutions
from forgemesh.orchestrator.application.scheduler import Scheduler
from forgemesh.orchestrator.application.schedules import Schedules
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.schedule import Overlap, Target
from forgemesh.orchestrator.domain.state import Status
from forgemesh.orchestrator.ports import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.schedule_ports import ScheduledStart
from tests.component.orchestrator.orchestrators import Orchestrator
from tests.component.orchestrator.schedules import DEFINITION, ManualWallClock, schedule_database, store_at
from tests.unit.orchestrator.schedules import plan

START = ScheduledStart(
    namespace="default",
    schedule_id="s",
    workflow="w",
    version="",
    input=Payload(b'{"n": 1}'),
    priority=3,
    execution_id="s-20261125T120100Z",
    request_id="schedule-1",
    linked_span=f"{'ab' * 16}-{'cd' * 8}",
)


@pytest.fixture
async def executions(orchestrator: Orchestrator) -> ScheduledExecutions:
    await orchestrator.definitions.register("default", DEFINITION)
    offered = orchestrator.offered
    return ScheduledExecutions(orchestrator.store, offered.starts, offered.controls)


async def test_a_start_says_which_schedule_it_is_of_in_a_trace_of_its_own(
    executions: ScheduledExecutions, orchestrator: Orchestrator
) -> None:
    await executions.start(START)
    await executions.start(replace(START, execution_id="other", request_id="schedule-2"))
    first, second = [await orchestrator.executions.get("default", name) for name in (START.execution_id, "other")]

    assert first.started is not None
    assert first.started.origin is not None
    assert (first.started.origin.schedule_id, first.started.priority) == ("s", 3)
    assert first.started.linked_span == START.linked_span
    assert first.trace_id != second.trace_id


async def test_the_same_start_again_starts_nothing(executions: ScheduledExecutions, orchestrator: Orchestrator) -> None:
    await executions.start(START)
    await executions.start(START)
    with pytest.raises(RequestIdReused):
        await executions.start(replace(START, input=Payload(b"{}")))

    wanted = ExecutionFilter(namespace="default", schedule_id="s")
    page = await orchestrator.store.executions(wanted, ExecutionOrder.STARTED_ASCENDING, "", 10)
    assert [row.execution_id for row in page.rows] == [START.execution_id]


async def test_a_start_that_does_not_fit_is_refused(executions: ScheduledExecutions) -> None:
    with pytest.raises(ExecutionInputInvalid):
        await executions.start(replace(START, input=Payload(b'{"n": "x"}')))


async def test_open_executions_are_those_of_the_schedule(
    executions: ScheduledExecutions, orchestrator: Orchestrator
) -> None:
    for number in range(3):
        await executions.start(replace(START, execution_id=f"e-{number}", request_id=f"schedule-{number}"))
    await executions.start(replace(START, schedule_id="t", execution_id="t-0", request_id="schedule-t"))
    await executions.terminate("default", "e-0", "makes room")
    await executions.cancel("default", "e-1", "makes room")
    await orchestrator.hosts.answer("a", execution_id="e-1")
    cancelled = await orchestrator.ended("e-1")

    assert await executions.open_executions("default", "s") == ["e-2"]
    assert cancelled.status is Status.CANCELLED
    assert cancelled.cancel is not None
    assert cancelled.cancel.reason == "makes room"


async def test_stopping_what_has_ended_changes_nothing(
    executions: ScheduledExecutions, orchestrator: Orchestrator
) -> None:
    await executions.start(START)
    await executions.terminate("default", START.execution_id, "first")
    await executions.terminate("default", START.execution_id, "again")

    assert (await orchestrator.ended(START.execution_id)).status is Status.TERMINATED


@pytest.fixture
async def clock() -> ManualWallClock:
    return ManualWallClock()


@pytest.fixture
async def schedules(
    tmp_path: Path, executions: ScheduledExecutions, orchestrator: Orchestrator, clock: ManualWallClock
) -> AsyncIterator[Schedules]:
    async with schedule_database(tmp_path / "schedules.db") as database:
        store = store_at(database)
        scheduler = Scheduler(store, executions, clock)
        async with beside(scheduler.run()):
            yield Schedules(scheduler, store, executions, orchestrator.definitions, clock)


async def test_the_end_of_an_execution_lets_the_next_one_start(
    schedules: Schedules, executions: ScheduledExecutions, orchestrator: Orchestrator, clock: ManualWallClock
) -> None:
    target = Target(workflow="w", moment_field="day")
    await schedules.create("default", "s", plan(overlap=Overlap.BUFFER_ALL, target=target), None)
    clock.advance(180)
    for minute in (1, 2, 3):
        name = f"s-20261125T120{minute}00Z"
        await orchestrator.hosts.answer("a", execution_id=name)
        ended = await orchestrator.ended(name)
        executions.ended(ended)
        assert ended.started is not None
        assert ended.started.input.value() == {"day": f"2026-11-25T12:0{minute}:00+00:00"}

    assert ended.status is Status.SUCCEEDED
    assert await executions.open_executions("default", "s") == []
