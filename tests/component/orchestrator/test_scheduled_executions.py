"""Schedules over the real engine and store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from forgemesh.chassis.tasks import beside
from forgemesh.faults.control import ConcurrencyExceeded
from forgemesh.faults.workflow import ExecutionInputInvalid, RequestIdReused
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.schedules.executions import ScheduledExecutions
from forgemesh.orchestrator.schedules.ports import ScheduledStart
from forgemesh.orchestrator.schedules.schedule import Overlap, RunState, Schedule, Target
from forgemesh.orchestrator.schedules.scheduler import Scheduler
from forgemesh.orchestrator.schedules.schedules import Schedules
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.orchestrators import Orchestrator
from tests.component.orchestrator.schedules import DEFINITION, ManualWallClock, schedule_database, store_at
from tests.unit.orchestrator.schedules import plan

START = ScheduledStart(
    namespace="default",
    schedule_id="s",
    incarnation="1".zfill(26),
    workflow="w",
    version="",
    input=Payload(b'{"n": 1}'),
    priority=3,
    execution_id="s-20261125T120100Z",
    request_id="schedule-1",
    linked_span=f"{'ab' * 16}-{'cd' * 8}",
)

SCHEDULE = Schedule(namespace="default", id="s", plan=plan(), created_at=0, updated_at=0, cursor=0, key=1)


@pytest.fixture
async def executions(orchestrator: Orchestrator) -> ScheduledExecutions:
    await orchestrator.definitions.register("default", DEFINITION)
    offered = orchestrator.offered
    return ScheduledExecutions(orchestrator.store, offered.starts, offered.controls, offered.executions)


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
    opened = {one.execution_id: one for one in await executions.open_executions(SCHEDULE)}
    await executions.terminate("default", opened["e-0"], "makes room")
    await executions.cancel("default", opened["e-1"], "makes room")
    await orchestrator.hosts.answer("a", execution_id="e-1")
    cancelled = await orchestrator.ended("e-1")

    assert [one.execution_id for one in await executions.open_executions(SCHEDULE)] == ["e-2"]
    assert cancelled.status is Status.CANCELLED
    assert cancelled.cancel is not None
    assert cancelled.cancel.reason == "makes room"


async def test_stopping_what_has_ended_changes_nothing(
    executions: ScheduledExecutions, orchestrator: Orchestrator
) -> None:
    await executions.start(START)
    (opened,) = await executions.open_executions(SCHEDULE)
    await executions.terminate("default", opened, "makes room")
    await executions.terminate("default", opened, "makes room")

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
            yield Schedules(
                scheduler, store, executions, orchestrator.definitions, clock, orchestrator.offered.starts.under_way
            )


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
    assert await executions.open_executions(SCHEDULE) == []


async def test_what_a_deleted_schedule_had_started_is_not_that_of_another_one_of_its_id(
    executions: ScheduledExecutions,
) -> None:
    await executions.start(START)

    assert [one.execution_id for one in await executions.open_executions(SCHEDULE)] == [START.execution_id]
    assert await executions.open_executions(replace(SCHEDULE, key=2)) == []


async def test_a_schedule_that_is_created_again_ends_nothing_that_the_deleted_one_had_started(
    schedules: Schedules, orchestrator: Orchestrator, clock: ManualWallClock
) -> None:
    replacing = plan(overlap=Overlap.TERMINATE_OTHER)
    await schedules.create("default", "s", replacing, None)
    clock.advance(60)
    first = "s-20261125T120100Z"
    await orchestrator.hosts.call("a", execution_id=first)
    await schedules.delete("default", "s")
    await schedules.create("default", "s", replacing, None)
    clock.advance(60)
    await orchestrator.hosts.call("a", execution_id="s-20261125T120200Z")

    assert (await orchestrator.executions.get("default", first)).status is Status.RUNNING
    _, _, open_ids = await schedules.get("default", "s")
    assert open_ids == ["s-20261125T120200Z"]


async def test_an_import_that_bears_a_schedules_name_is_not_its_execution(
    executions: ScheduledExecutions, orchestrator: Orchestrator
) -> None:
    await executions.start(START)
    archives = orchestrator.offered.archives
    file = b"".join([piece async for piece in archives.export("default", START.execution_id)])
    await archives.take_over("default", "copy", file)

    assert [one.execution_id for one in await executions.open_executions(SCHEDULE)] == [START.execution_id]


LIMITED = """
name: limited
concurrency: {key: "one", limit: 1, on_conflict: cancel_newest}
steps: [{id: a, call: {plugin: p, operation: o}}]
"""


async def test_an_execution_that_got_no_place_was_refused_and_not_started(
    schedules: Schedules, orchestrator: Orchestrator
) -> None:
    await orchestrator.definitions.register("default", LIMITED)
    target = Target(workflow="limited")
    await schedules.create("default", "s", plan(overlap=Overlap.ALLOW_ALL, target=target), None)
    _, first = await schedules.trigger("default", "s", None, "", "")
    schedule, second = await schedules.trigger("default", "s", None, "", "")

    assert (first.state, second.state) == (RunState.STARTED, RunState.REFUSED)
    assert second.reason == ConcurrencyExceeded.reason
    assert (schedule.tally.started, schedule.tally.refused) == (1, 1)


async def test_a_start_that_was_refused_its_place_before_a_crash_was_refused(
    executions: ScheduledExecutions, orchestrator: Orchestrator
) -> None:
    await orchestrator.definitions.register("default", LIMITED)
    limited = replace(START, workflow="limited", input=Payload(b"{}"))
    await executions.start(limited)
    refused = replace(limited, execution_id="e-2", request_id="schedule-2")

    for again in (refused, refused, replace(refused, priority=9)):
        with pytest.raises(ConcurrencyExceeded):
            await executions.start(again)


async def test_a_request_to_a_schedule_is_one_with_all_that_it_asks_for(
    schedules: Schedules, orchestrator: Orchestrator, clock: ManualWallClock
) -> None:
    await schedules.create("default", "s", plan(), None)
    clock.advance(180)
    begin, end = clock.now() - 120 * SECOND, clock.now()
    _, first = await schedules.trigger("default", "s", Overlap.ALLOW_ALL, "r", "")
    _, runs = await schedules.backfill("default", "s", begin, end, Overlap.ALLOW_ALL, "b")

    assert (await schedules.trigger("default", "s", Overlap.ALLOW_ALL, "r", "link"))[1].name == first.name
    _, again = await schedules.backfill("default", "s", begin, end, Overlap.ALLOW_ALL, "b")
    assert [run.name for run in again] == [run.name for run in runs]
    with pytest.raises(RequestIdReused):
        await schedules.trigger("default", "s", None, "r", "")
    with pytest.raises(RequestIdReused):
        await schedules.trigger("default", "s", Overlap.ALLOW_ALL, "b", "")
    for other in ((begin, end - SECOND, Overlap.ALLOW_ALL), (begin, end, Overlap.BUFFER_ALL)):
        with pytest.raises(RequestIdReused):
            await schedules.backfill("default", "s", *other, "b")


async def test_a_request_to_a_deleted_schedule_is_none_to_another_one_of_its_id(
    schedules: Schedules, clock: ManualWallClock
) -> None:
    await schedules.create("default", "s", plan(), None)
    await schedules.trigger("default", "s", None, "r", "")
    await schedules.delete("default", "s")
    await schedules.create("default", "s", plan(), None)

    with pytest.raises(RequestIdReused):
        await schedules.trigger("default", "s", None, "r", "")
