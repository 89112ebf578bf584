"""Schedules and what was decided about their starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import RequestIdReused
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.schedules.ports import KEPT_RUNS, ScheduleStore
from forgemesh.orchestrator.schedules.schedule import Occasion, Overlap, Pause, Run, RunState, Tally, Target
from forgemesh.orchestrator.schedules.timetable import Interval, Timetable
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.store_contract.adapters import Adapter, Owned
from tests.component.store_contract.histories import begin
from tests.unit.orchestrator.schedules import NOON, schedule

EVERYTHING = schedule(
    timetable=Timetable(
        crons=("0 9 * * MON-FRI", "@daily"),
        intervals=(Interval(3600, 60),),
        zone="Europe/Berlin",
        start_at=NOON,
        end_at=NOON + 10**18 + 1,
        jitter=30,
    ),
    target=Target(
        workflow="w",
        version="1.2.3",
        input=Payload(b'{"n": 12345678901234567890}', metadata={"k": "v"}),
        priority=-3,
        moment_field="day",
    ),
    overlap=Overlap.CANCEL_OTHER,
    catchup_window=86_400,
    max_starts=9,
    description="\N{SNOWMAN}",
)


def runs(state: RunState, count: int, first: int = 0) -> tuple[Run, ...]:
    return tuple(Run(NOON + number * SECOND, state=state, decided_at=NOON) for number in range(first, first + count))


async def test_a_schedule_is_loaded_as_it_was_saved(schedules: ScheduleStore) -> None:
    created = await schedules.create(EVERYTHING)
    asked = Run(NOON, Occasion.BACKFILLED, 7, RunState.WAITING, Overlap.ALLOW_ALL, "", "", NOON, "r", "ab-cd")
    changed = replace(
        created,
        revision=4,
        updated_at=NOON + 1,
        cursor=NOON + 2,
        pause=Pause("ann", "holiday", NOON + 3),
        used=5,
        last_number=6,
        first_started_at=NOON + 4,
        last_started_at=NOON + 5,
        tally=Tally(1, 2, 3, 4),
        waiting=(*runs(RunState.WAITING, 3), asked),
        starting=runs(RunState.STARTING, 2, first=10),
    )
    await schedules.save(changed, (*changed.waiting, *changed.starting))

    assert await schedules.load() == [changed]


async def test_what_a_run_came_to_replaces_what_it_was(schedules: ScheduleStore) -> None:
    created = await schedules.create(schedule())
    (run,) = runs(RunState.WAITING, 1)
    await schedules.save(created, (run,))
    refused = replace(run, state=RunState.REFUSED, reason="R", message="m", decided_at=NOON + 1)
    await schedules.save(created, (refused,))

    assert await schedules.recent(created.key, 10) == [refused]
    assert await schedules.load() == [created]


async def test_decisions_come_newest_first_and_old_ones_are_forgotten(schedules: ScheduleStore) -> None:
    created = await schedules.create(schedule())
    other = await schedules.create(replace(schedule(), id="other"))
    waiting = runs(RunState.WAITING, 1, first=9999)
    over = [replace(run, decided_at=run.moment) for run in runs(RunState.SKIPPED, KEPT_RUNS + 5)]
    await schedules.save(other, runs(RunState.SKIPPED, 1))
    await schedules.save(replace(created, waiting=waiting), (*waiting, *over))

    assert await schedules.recent(created.key, 3) == over[-1:-4:-1]
    assert await schedules.recent(created.key, 5000) == over[:4:-1]
    assert len(await schedules.recent(other.key, 10)) == 1
    assert (await schedules.load())[1].waiting == waiting


async def test_a_request_finds_what_it_asked_for(schedules: ScheduleStore) -> None:
    created = await schedules.create(schedule())
    asked = [replace(run, request_id="r") for run in runs(RunState.STARTED, 2)]
    await schedules.save(created, (*asked, *runs(RunState.STARTED, 2, first=5)))

    assert await schedules.asked(created, "r", "an older release kept no content") == asked
    assert await schedules.asked(created, "other", "c") == []
    assert await schedules.asked(created, "", "c") == []


async def test_what_a_request_was_answered_with_is_kept_as_long_as_its_answer(schedules: ScheduleStore) -> None:
    created = await schedules.create(schedule())
    asked = [replace(run, request_id="r") for run in runs(RunState.STARTED, 2)]
    answer = Recorded(namespace="default", request_id="r", content="c", at=NOON, schedule_key=created.key)
    await schedules.save(created, asked, answer)
    await schedules.save(
        created, [replace(run, decided_at=run.moment) for run in runs(RunState.SKIPPED, KEPT_RUNS + 5, first=5)]
    )

    assert await schedules.asked(created, "r", "c") == asked
    with pytest.raises(RequestIdReused):
        await schedules.asked(created, "r", "other")


async def test_a_deleted_schedule_leaves_nothing_and_its_key_is_not_used_again(schedules: ScheduleStore) -> None:
    created = await schedules.create(schedule())
    await schedules.save(created, (*runs(RunState.WAITING, 3), *runs(RunState.SKIPPED, 3, first=5)))
    await schedules.delete(created.key)
    again = await schedules.create(schedule())

    assert again.key > created.key
    assert await schedules.recent(created.key, 10) == []
    assert await schedules.load() == [again]


async def test_a_request_id_that_started_an_execution_asks_nothing_of_a_schedule(
    owned: Owned, schedules: ScheduleStore
) -> None:
    created = await schedules.create(schedule())
    await begin(owned, "e", "r")

    with pytest.raises(RequestIdReused) as reused:
        await schedules.asked(created, "r", "c")
    assert reused.value.metadata["execution_id"] == "e"


async def test_answers_of_schedules_are_forgotten_after_a_time_and_those_of_executions_with_them(
    owned: Owned, schedules: ScheduleStore
) -> None:
    created = await schedules.create(schedule())
    for request_id, at in (("old", 5), ("new", 6)):
        answer = Recorded(namespace="default", request_id=request_id, content="c", at=at, schedule_key=created.key)
        await schedules.save(created, (), answer)

    await owned.store.forget_answers(6)

    assert await schedules.asked(created, "old", "other") == []
    with pytest.raises(RequestIdReused):
        await schedules.asked(created, "new", "other")


@pytest.mark.parametrize("column", ["plan", "cursor", "paused_reason"])
async def test_a_schedule_that_cannot_be_read_is_named_and_the_others_are_loaded(
    adapter: Adapter, schedules: ScheduleStore, column: str
) -> None:
    broken = await schedules.create(schedule())
    sound = await schedules.create(replace(schedule(), id="sound"))
    await adapter.change("schedule", column, "s")

    assert await schedules.load() == [sound]
    assert [(one.key, one.schedule_id) for one in schedules.damaged] == [(broken.key, "s")]
    assert [type(one.fault) for one in schedules.damaged] == [DataCorrupted]


async def test_nothing_happens_of_a_schedule_of_which_a_start_cannot_be_read(
    adapter: Adapter, schedules: ScheduleStore
) -> None:
    created = await schedules.create(schedule())
    await schedules.save(created, runs(RunState.WAITING, 2))
    await adapter.change("schedule_run", "request_id", NOON + SECOND)

    assert await schedules.load() == []
    assert [one.schedule_id for one in schedules.damaged] == ["s"]


async def test_a_decision_that_cannot_be_read_is_left_out_of_what_is_shown(
    adapter: Adapter, schedules: ScheduleStore
) -> None:
    created = await schedules.create(schedule())
    await schedules.save(created, runs(RunState.STARTED, 3))
    await adapter.change("schedule_run", "reason", NOON + SECOND)

    assert len(await schedules.recent(created.key, 10)) == 2
