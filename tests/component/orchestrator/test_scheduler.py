from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.schedule import ScheduleFull, ScheduleNotFound
from forgemesh.faults.service import StoreUnavailable
from forgemesh.faults.workflow import ExecutionInputInvalid
from forgemesh.orchestrator.schedules.schedule import MAX_WAITING, Occasion, Overlap, RunState, Tally, Target
from forgemesh.orchestrator.schedules.timetable import Timetable
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.schedules import (
    ManualWallClock,
    Running,
    ScriptedStarter,
    schedule_database,
    scheduling,
    store_at,
)
from tests.unit.orchestrator.schedules import MINUTE, NOON, plan

IDS = [f"s-20261125T120{minute}00Z" for minute in range(10)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with schedule_database(tmp_path / "schedules.db") as opened:
        yield opened


@pytest.fixture
def starter() -> ScriptedStarter:
    return ScriptedStarter()


@pytest.fixture
def clock() -> ManualWallClock:
    return ManualWallClock()


@pytest.fixture
async def running(database: Database, starter: ScriptedStarter, clock: ManualWallClock) -> AsyncIterator[Running]:
    async with scheduling(store_at(database), starter, clock) as started:
        yield started


async def test_a_due_moment_starts_an_execution(running: Running) -> None:
    await running.create(plan(target=Target(workflow="w", version="1.0.0", priority=7, moment_field="day")))
    running.clock.advance(60)
    await running.starter.until(lambda: running.starter.ids == [IDS[1]])

    (start,) = running.starter.starts
    assert (start.namespace, start.schedule_id, start.workflow, start.version) == ("default", "s", "w", "1.0.0")
    assert (start.priority, start.input.value()) == (7, {"day": "2026-11-25T12:01:00+00:00"})


async def test_it_looks_when_something_is_due_and_not_more_often(running: Running) -> None:
    await running.create(plan(timetable=Timetable(crons=("0 * * * *",))))
    await running.create(plan(overlap=Overlap.ALLOW_ALL), "each-minute")
    for minute in range(1, 61):
        running.clock.advance(60)
        await running.until(lambda schedule, minute=minute: schedule.tally.started == minute, "each-minute")  # type: ignore[misc]
    await running.until(lambda schedule: schedule.tally.started == 1)

    assert running.starter.looks["s"] <= 3


async def test_the_end_of_an_execution_starts_the_one_that_waits(running: Running) -> None:
    await running.create(plan(overlap=Overlap.BUFFER_ONE))
    running.clock.advance(60)
    await running.starter.until(lambda: running.starter.ids == [IDS[1]])
    running.clock.advance(60)
    await running.until(lambda schedule: len(schedule.waiting) == 1)
    running.starter.end()
    await running.starter.until(lambda: len(running.starter.ids) == 2)

    assert running.starter.ids == IDS[1:3]


@pytest.mark.parametrize(
    ("overlap", "stop"), [(Overlap.CANCEL_OTHER, "cancel"), (Overlap.TERMINATE_OTHER, "terminate")]
)
async def test_what_is_open_makes_room_for_the_next(running: Running, overlap: Overlap, stop: str) -> None:
    await running.create(plan(overlap=overlap))
    running.clock.advance(60)
    await running.starter.until(lambda: running.starter.ids == [IDS[1]])
    running.clock.advance(60)
    await running.starter.until(lambda: len(running.starter.stopped) == 1)
    if stop == "cancel":
        running.starter.end()
    await running.starter.until(lambda: len(running.starter.ids) == 2)

    assert running.starter.stopped == [(stop, IDS[1], "schedule s starts another one in its place")]
    assert running.starter.ids == IDS[1:3]


async def test_a_start_that_cannot_be_made_now_is_made_later(running: Running) -> None:
    running.starter.faults += [StoreUnavailable("o.db", "disk full")] * 3
    await running.create(plan(timetable=Timetable(crons=("0 * * * *",))))
    running.clock.advance(3600)
    for left in (2, 1, 0):
        await running.starter.until(lambda left=left: len(running.starter.faults) == left)  # type: ignore[misc]
        running.clock.advance(5)
    await running.starter.until(lambda: running.starter.ids == ["s-20261125T130000Z"])

    assert (await running.until(lambda schedule: not schedule.starting)).tally == Tally(started=1)


async def test_a_refused_start_is_remembered_with_its_reason(running: Running) -> None:
    running.starter.faults.append(ExecutionInputInvalid("w", []))
    await running.create(plan())
    running.clock.advance(60)
    await running.until(lambda schedule: schedule.tally.refused == 1)
    running.clock.advance(60)
    await running.starter.until(lambda: running.starter.ids == [IDS[2]])
    await running.until(lambda schedule: schedule.tally.started == 1)

    _, recent, open_ids = await running.schedules.get("default", "s")
    assert [(run.state, run.reason) for run in recent] == [
        (RunState.STARTED, ""),
        (RunState.REFUSED, "EXECUTION_INPUT_INVALID"),
    ]
    assert open_ids == [IDS[2]]


async def test_a_pause_decides_what_was_due_before_it(running: Running) -> None:
    await running.create(plan())
    running.clock.advance(60)
    paused = await running.schedules.pause("default", "s", "ann", "holiday")
    running.clock.advance(120)
    await running.until(lambda schedule: schedule.tally.skipped == 2)
    await running.schedules.resume("default", "s")
    running.clock.advance(60)
    running.starter.end()
    running.clock.advance(60)
    await running.starter.until(lambda: len(running.starter.ids) >= 2)

    assert paused.pause is not None
    assert (paused.pause.by, paused.pause.reason, paused.pause.at) == ("ann", "holiday", NOON + MINUTE)
    assert running.starter.ids[0] == IDS[1]


async def test_a_plan_may_change_while_an_execution_is_open(running: Running) -> None:
    await running.create(plan(overlap=Overlap.BUFFER_ALL))
    running.clock.advance(60)
    await running.starter.until(lambda: running.starter.ids == [IDS[1]])
    running.clock.advance(120)
    await running.until(lambda schedule: len(schedule.waiting) == 2)
    await running.schedules.update("default", "s", plan(overlap=Overlap.SKIP), 0)
    changed = await running.until(lambda schedule: not schedule.waiting)

    assert changed.tally == Tally(started=1, skipped=2)
    assert changed.revision == 2
    assert list(running.starter.open) == [IDS[1]]


async def test_a_trigger_starts_at_once_and_the_same_request_once(running: Running) -> None:
    await running.create(plan())
    _, run = await running.schedules.trigger("default", "s", None, "r-1", "ab-cd")
    schedule, again = await running.schedules.trigger("default", "s", None, "r-1", "ab-cd")
    _, other = await running.schedules.trigger("default", "s", None, "r-2", "")

    assert run == again
    assert (run.state, run.occasion) == (RunState.STARTED, Occasion.TRIGGERED)
    assert (other.state, other.reason) == (RunState.SKIPPED, "OVERLAP")
    assert running.starter.ids == [schedule.execution_id(run)] == ["s-20261125T120000Z-manual"]
    assert running.starter.starts[0].linked_span == "ab-cd"


async def test_a_trigger_that_cannot_start_now_is_decided_all_the_same(running: Running) -> None:
    running.starter.faults.append(StoreUnavailable("o.db", "disk full"))
    await running.create(plan())
    _, run = await running.schedules.trigger("default", "s", None, "", "")
    await running.starter.until(lambda: len(running.starter.ids) == 1)

    assert run.state is RunState.STARTING


async def test_a_backfill_runs_its_moments_one_after_the_other(running: Running) -> None:
    await running.create(plan())
    schedule, runs = await running.schedules.backfill(
        "default", "s", NOON - 3 * MINUTE, NOON - MINUTE, Overlap.BUFFER_ALL, "b"
    )
    _, again = await running.schedules.backfill(
        "default", "s", NOON - 3 * MINUTE, NOON - MINUTE, Overlap.BUFFER_ALL, "b"
    )
    for number in (1, 2, 3):
        await running.starter.until(lambda number=number: len(running.starter.ids) == number)  # type: ignore[misc]
        running.starter.end()

    expected = [f"s-20261125T115{minute}00Z-backfill-20261125T120000Z" for minute in (7, 8, 9)]
    assert [schedule.execution_id(run) for run in runs] == expected == running.starter.ids
    assert [run.moment for run in again] == [run.moment for run in runs]


async def test_a_schedule_refuses_more_than_it_can_hold(running: Running) -> None:
    await running.create(plan())
    await running.schedules.backfill("default", "s", NOON - 999 * MINUTE, NOON, Overlap.BUFFER_ALL, "")
    await running.until(lambda schedule: not schedule.starting)

    with pytest.raises(ScheduleFull) as refused:
        await running.schedules.backfill("default", "s", NOON - MINUTE, NOON, Overlap.BUFFER_ALL, "")

    assert refused.value.metadata["limit"] == str(MAX_WAITING)
    assert len(running.schedule().waiting) == 999


async def test_a_deleted_schedule_starts_nothing_and_leaves_what_runs(running: Running) -> None:
    await running.create(plan(overlap=Overlap.BUFFER_ALL))
    await running.create(plan(overlap=Overlap.ALLOW_ALL), "other")
    running.clock.advance(60)
    await running.starter.until(lambda: len(running.starter.ids) == 2)
    deleted = await running.schedules.delete("default", "s")
    again = await running.schedules.delete("default", "s")
    running.clock.advance(60)
    await running.starter.until(lambda: len(running.starter.ids) == 3)

    assert (deleted, again) == (True, False)
    assert running.starter.ids[2] == "other-20261125T120200Z"
    assert IDS[1] in running.starter.open
    with pytest.raises(ScheduleNotFound):
        await running.schedules.trigger("default", "s", None, "", "")
    assert [schedule.id for schedule in await running.store.load()] == ["other"]


async def test_schedules_do_not_wait_for_one_another(running: Running) -> None:
    await running.create(plan(), "a")
    running.starter.held = True
    running.clock.advance(60)
    await running.until(lambda schedule: bool(schedule.starting), "a")
    running.starter.held = False
    await running.create(plan(), "b")
    running.clock.advance(60)
    await running.starter.until(lambda: bool(running.starter.ids))

    assert running.starter.ids == ["b-20261125T120200Z"]


async def test_what_was_due_while_nothing_ran_is_made_up_for(
    database: Database, starter: ScriptedStarter, clock: ManualWallClock
) -> None:
    async with scheduling(store_at(database), starter, clock) as running:
        await running.create(plan(overlap=Overlap.ALLOW_ALL, catchup_window=150))
    clock.advance(600)
    async with scheduling(store_at(database), starter, clock) as running:
        await starter.until(lambda: len(starter.ids) == 3)
        schedule = await running.until(lambda schedule: schedule.tally.started == 3)

    assert starter.ids == ["s-20261125T120800Z", "s-20261125T120900Z", "s-20261125T121000Z"]
    assert schedule.tally.missed == 7


async def test_what_ended_while_nothing_ran_makes_room(
    database: Database, starter: ScriptedStarter, clock: ManualWallClock
) -> None:
    async with scheduling(store_at(database), starter, clock) as running:
        await running.create(plan(overlap=Overlap.BUFFER_ONE))
        clock.advance(60)
        await starter.until(lambda: len(starter.ids) == 1)
        clock.advance(60)
        await running.until(lambda schedule: len(schedule.waiting) == 1)
    starter.end()
    async with scheduling(store_at(database), starter, clock):
        await starter.until(lambda: len(starter.ids) == 2)

    assert starter.ids == IDS[1:3]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("write", range(1, 9))
async def test_a_crash_at_any_write_loses_no_start_and_repeats_none(
    database: Database, starter: ScriptedStarter, clock: ManualWallClock, write: int, before: bool
) -> None:
    """Each minute costs two writes: the decision, and that it was carried out."""
    mortal = store_at(database, fatal=write, before=before)
    async with scheduling(mortal, starter, clock) as running:
        await running.create(plan(overlap=Overlap.ALLOW_ALL))
        while not mortal.died.is_set():
            clock.advance(60)
            await running.until(lambda schedule: schedule.cursor == clock.now() and not schedule.starting)
    clock.advance(4 * 60 - (clock.now() - NOON) // SECOND)
    async with scheduling(store_at(database), starter, clock) as running:
        schedule = await running.until(lambda s: s.cursor == clock.now() and not s.starting)

    assert starter.ids == IDS[1:5]
    assert schedule.tally == Tally(started=4)


async def test_a_plan_that_changed_after_a_crash_repeats_no_start(
    database: Database, starter: ScriptedStarter, clock: ManualWallClock
) -> None:
    mortal = store_at(database, fatal=2, before=True)
    async with scheduling(mortal, starter, clock) as running:
        await running.create(plan())
        clock.advance(60)
        await asyncio.wait_for(mortal.died.wait(), PATIENCE)
    starter.faults.append(StoreUnavailable("o.db", "disk full"))
    async with scheduling(store_at(database), starter, clock) as running:
        await starter.until(lambda: not starter.faults)
        await running.schedules.update("default", "s", plan(target=Target(workflow="w", version="1.0.0")), 0)
        schedule = await running.until(lambda schedule: not schedule.starting)

    assert starter.ids == [IDS[1]]
    assert schedule.tally == Tally(started=1)
    assert schedule.revision == 2


async def test_a_bug_in_one_schedule_ends_no_other_one_nor_itself(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck: list[str] = []
    real = running.clock.wait

    async def planted(event: asyncio.Event, until: int | None) -> None:
        if not struck and asyncio.current_task() is not None and until is not None:
            struck.append("once")
            raise LookupError("planted")
        await real(event, until)

    monkeypatch.setattr(running.clock, "wait", planted)
    await running.create(plan(), "sick")
    await running.create(plan(), "well")
    await running.starter.until(lambda: bool(struck))
    running.clock.advance(60)

    await running.starter.until(lambda: len(running.starter.ids) == 2)

    assert sorted(one.partition("-")[0] for one in running.starter.ids) == ["sick", "well"]
