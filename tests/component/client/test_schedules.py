"""The client's schedules against those of an orchestrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client import Client, Interval, SchedulePlan
from forgemesh.faults.schedule import ScheduleChanged, ScheduleInvalid, ScheduleNotFound
from tests.component.orchestrator.schedules import Running, served_schedules

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EACH_MINUTE = SchedulePlan(workflow="w", crons=("* * * * *",))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Running, str]]:
    async with served_schedules(tmp_path) as started:
        yield started


@pytest.fixture
def running(served: tuple[Running, str]) -> Running:
    return served[0]


@pytest.fixture
async def mesh(served: tuple[Running, str]) -> AsyncIterator[Client]:
    async with Client.connect(served[1]) as client:
        yield client


async def test_a_plan_comes_back_as_it_was_given(mesh: Client) -> None:
    plan = SchedulePlan(
        workflow="w",
        version="1.0.0",
        input={"n": 12345678901234567890},
        moment_field="day",
        priority=5,
        crons=("30 2 * * *",),
        intervals=(Interval(timedelta(hours=6), timedelta(minutes=5)),),
        zone="Europe/Berlin",
        start_at=NOON,
        end_at=NOON + timedelta(days=90),
        jitter=timedelta(minutes=2),
        overlap="cancel_other",
        catchup_window=timedelta(hours=1),
        max_starts=100,
        description="reports",
    )
    created = await mesh.schedules.create("s", plan)
    read = await mesh.schedules.get("s")

    assert created.plan == read.plan == plan
    assert (read.id, read.revision, read.created_at, read.pause) == ("s", 1, NOON, None)
    assert len(read.next_moments) == 10


async def test_an_input_with_metadata_comes_back_whole(mesh: Client) -> None:
    given = Payload(media_type="application/json", data=b"{}", metadata={"k": "v"})
    await mesh.schedules.create("s", replace(EACH_MINUTE, input=given))

    assert (await mesh.schedules.get("s")).plan.input == given


async def test_what_a_schedule_did_can_be_looked_at(mesh: Client, running: Running) -> None:
    await mesh.schedules.create("s", replace(EACH_MINUTE, overlap="buffer_one"))
    running.clock.advance(60)
    await running.starter.until(lambda: len(running.starter.ids) == 1)
    running.clock.advance(120)
    await running.until(lambda schedule: schedule.tally.skipped == 1)
    schedule = await mesh.schedules.get("s")
    listed = await mesh.schedules.list(workflow="w")

    assert (schedule.tally.started, schedule.tally.skipped) == (1, 1)
    assert [(run.moment, run.state) for run in schedule.waiting] == [(NOON + 2 * MINUTE, "waiting")]
    assert [(run.moment, run.state, run.reason) for run in schedule.recent] == [
        (NOON + 3 * MINUTE, "skipped", "OVERLAP"),
        (NOON + MINUTE, "started", ""),
    ]
    assert schedule.open_execution_ids == ("s-20261125T120100Z",)
    assert schedule.first_started_at == NOON + MINUTE
    assert [(one.id, one.recent) for one in listed] == [("s", ())]


async def test_a_schedule_is_paused_resumed_changed_and_deleted(mesh: Client) -> None:
    created = await mesh.schedules.create("s", EACH_MINUTE, paused="not yet", by="ann")
    resumed = await mesh.schedules.resume("s")
    paused = await mesh.schedules.pause("s", "holiday", by="bob")
    changed = await mesh.schedules.update("s", replace(created.plan, overlap="allow_all"), revision=1)
    with pytest.raises(ScheduleChanged):
        await mesh.schedules.update("s", replace(created.plan, overlap="skip"), revision=1)

    assert created.pause is not None
    assert (created.pause.by, created.pause.reason, created.pause.at) == ("ann", "not yet", NOON)
    assert resumed.pause is None
    assert paused.pause is not None
    assert (paused.pause.by, paused.pause.reason) == ("bob", "holiday")
    assert (changed.revision, changed.plan.overlap) == (2, "allow_all")
    assert await mesh.schedules.delete("s")
    assert not await mesh.schedules.delete("s")
    with pytest.raises(ScheduleNotFound):
        await mesh.schedules.get("s")


async def test_starts_may_be_asked_for(mesh: Client, running: Running) -> None:
    await mesh.schedules.create("s", EACH_MINUTE)
    run = await mesh.schedules.trigger("s", request_id="r")
    again = await mesh.schedules.trigger("s", request_id="r")
    skipped = await mesh.schedules.trigger("s", overlap="skip")
    runs = await mesh.schedules.backfill("s", NOON - 2 * MINUTE, NOON - MINUTE, overlap="allow_all")
    await running.starter.until(lambda: len(running.starter.ids) == 3)

    assert run == again
    assert (run.occasion, run.state, run.execution_id) == ("triggered", "started", "s-20261125T120000Z-manual")
    assert (skipped.state, skipped.reason) == ("skipped", "OVERLAP")
    assert [(one.occasion, one.moment) for one in runs] == [
        ("backfilled", NOON - 2 * MINUTE),
        ("backfilled", NOON - MINUTE),
    ]


async def test_a_preview_needs_no_schedule(mesh: Client) -> None:
    moments = await mesh.schedules.preview(plan=EACH_MINUTE, after=NOON + MINUTE, count=2)
    with pytest.raises(ScheduleInvalid, match="minute '99' must be 0 to 59"):
        await mesh.schedules.preview(plan=replace(EACH_MINUTE, crons=("99 * * * *",)))

    assert [one.moment for one in moments] == [NOON + 2 * MINUTE, NOON + 3 * MINUTE]
    assert await mesh.schedules.list() == ()


def test_what_the_mesh_cannot_say_is_refused_before_it_is_asked() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        replace(EACH_MINUTE, start_at=datetime(2026, 1, 1)).message()  # noqa: DTZ001
    with pytest.raises(ValueError, match="not a whole number of seconds"):
        replace(EACH_MINUTE, intervals=(Interval(timedelta(milliseconds=1500)),)).message()
