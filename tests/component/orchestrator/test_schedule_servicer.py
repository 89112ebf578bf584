from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1 import schedule_pb2, schedule_service_pb2 as pb
from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.faults.schedule import ScheduleChanged, ScheduleExists, ScheduleInvalid, ScheduleNotFound
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import DefinitionNotFound, ExecutionInputInvalid
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.schedules import Running, served_schedules
from tests.unit.orchestrator.schedules import MINUTE, NOON

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub

IN_2026 = 1_767_225_600


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Running, str]]:
    async with served_schedules(tmp_path) as started:
        yield started


@pytest.fixture
def running(served: tuple[Running, str]) -> Running:
    return served[0]


@pytest.fixture
async def stub(served: tuple[Running, str]) -> AsyncIterator[ScheduleServiceAsyncStub]:
    async with connect(served[1]) as channel:
        yield ScheduleServiceStub(channel)


async def refusal(call: Awaitable[object]) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with asyncio.timeout(PATIENCE):
            await call
    return from_rpc_error(refused.value)


def moment(unix_nano: int) -> Timestamp:
    return Timestamp(seconds=unix_nano // SECOND)


def plan(**facts: Any) -> schedule_pb2.SchedulePlan:
    """Every minute the workflow `w`; `timetable` and `target` say what else is in these."""
    timetable = {"crons": ["* * * * *"]} | facts.pop("timetable", {})
    target = {"workflow": "w"} | facts.pop("target", {})
    return schedule_pb2.SchedulePlan(
        timetable=schedule_pb2.Timetable(**timetable), target=schedule_pb2.ScheduleTarget(**target), **facts
    )


def create(schedule_id: str = "s", **facts: Any) -> pb.CreateScheduleRequest:
    return pb.CreateScheduleRequest(schedule_id=schedule_id, plan=plan(**facts))


def violations(fault: Fault) -> dict[str, str]:
    return {violation.field: violation.message for violation in fault.violations}


async def test_a_schedule_is_created_shown_and_runs(stub: ScheduleServiceAsyncStub, running: Running) -> None:
    created = await stub.CreateSchedule(create(description="each minute"))
    running.clock.advance(60)
    await running.starter.until(lambda: len(running.starter.ids) == 1)
    running.clock.advance(60)
    await running.until(lambda schedule: schedule.tally.skipped == 1)
    shown = (await stub.GetSchedule(pb.GetScheduleRequest(schedule_id="s"))).schedule

    assert created.created
    assert (created.schedule.namespace, created.schedule.revision) == ("default", 1)
    assert created.schedule.plan.overlap_policy == schedule_pb2.OVERLAP_POLICY_SKIP
    assert created.schedule.plan.catchup_window_seconds == 365 * 86_400
    assert [one.moment for one in created.schedule.next_moments[:2]] == [
        moment(NOON + MINUTE),
        moment(NOON + 2 * MINUTE),
    ]
    assert (shown.tally.started, shown.tally.skipped) == (1, 1)
    assert list(shown.open_execution_ids) == ["s-20261125T120100Z"]
    assert [(run.execution_id, run.state, run.reason) for run in shown.recent] == [
        ("s-20261125T120200Z", schedule_pb2.SCHEDULE_RUN_STATE_SKIPPED, "OVERLAP"),
        ("s-20261125T120100Z", schedule_pb2.SCHEDULE_RUN_STATE_STARTED, ""),
    ]
    assert shown.first_started_at == moment(NOON + MINUTE)


async def test_the_same_schedule_again_is_the_same_and_another_is_refused(stub: ScheduleServiceAsyncStub) -> None:
    await stub.CreateSchedule(create())
    again = await stub.CreateSchedule(create())
    other = await refusal(stub.CreateSchedule(create(max_starts=3)))

    assert not again.created
    assert isinstance(other, ScheduleExists)


async def test_everything_that_is_wrong_with_a_plan_is_said_at_once(stub: ScheduleServiceAsyncStub) -> None:
    timetable = {
        "crons": ["61 * * * *", "* * * * *", "0 0 30 2 *"],
        "intervals": [
            schedule_pb2.Interval(every_seconds=0),
            schedule_pb2.Interval(every_seconds=60, offset_seconds=60),
        ],
        "time_zone": "Europe/Berlinn",
        "start_at": moment(NOON + 5 * MINUTE),
        "end_at": moment(NOON + 4 * MINUTE),
        "jitter_seconds": -1,
    }
    target = {"workflow": "", "priority": 2000, "moment_field": "day", "input": Payload(data=b"[]")}
    request = create(
        "not an id",
        timetable=timetable,
        target=target,
        overlap_policy=99,
        catchup_window_seconds=5,
        max_starts=-1,
        description="x" * 1001,
    )

    fault = await refusal(stub.CreateSchedule(request))

    assert isinstance(fault, ScheduleInvalid)
    assert violations(fault) == {
        "schedule_id": "'not an id' is not 1 to 150 letters, digits, '.', '_' or '-', beginning with one of the first"
        " two",
        "plan.overlap_policy": "99 is no policy that this release knows",
        "plan.timetable.time_zone": "'Europe/Berlinn' is no time zone of the IANA database, did you mean"
        " 'Europe/Berlin'?",
        "plan.timetable.crons[0]": "'61 * * * *': minute '61' must be 0 to 59",
        "plan.timetable.crons[2]": "'0 0 30 2 *': day-of-month '30' must be 1 to 31, L or LW, in a month that has such"
        " a day",
        "plan.timetable.intervals[0].every_seconds": "0 is not between 1 and 31622400",
        "plan.timetable.intervals[1].offset_seconds": "60 is not from 0 to less than every_seconds, 60",
        "plan.timetable.jitter_seconds": "-1 is not between 0 and 86400",
        "plan.timetable.end_at": "lies before start_at, so there is no moment between them",
        "plan.target.workflow": "is missing; name a registered workflow",
        "plan.target.priority": "2000 is not between -1000 and 1000",
        "plan.target.input": "must be a JSON object, so that moment_field can be set in it",
        "plan.catchup_window_seconds": "5 is not between 10 and 316224000",
        "plan.max_starts": "-1 is not between 0 and 1000000000",
        "plan.description": "has 1001 characters, at most 1000 are kept",
    }


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"timetable": {"crons": []}}, "plan.timetable"),
        ({"timetable": {"crons": ["* * * * *"] * 17}}, "plan.timetable"),
        ({"timetable": {"end_at": moment(NOON)}}, "plan.timetable.end_at"),
        ({"timetable": {"start_at": Timestamp(seconds=-(1 << 62))}}, "plan.timetable.start_at"),
        ({"timetable": {"end_at": Timestamp(seconds=1 << 62)}}, "plan.timetable.end_at"),
        ({"timetable": {"crons": ["0 0 1 1 *"], "end_at": moment(NOON + MINUTE)}}, "plan.timetable"),
        (
            {"target": {"input": Payload(data=b'{"day": 1}'), "moment_field": "day"}},
            "plan.target.moment_field",
        ),
        ({"target": {"input": Payload(data=b"{"), "moment_field": "day"}}, "plan.target.input"),
    ],
)
async def test_a_plan_that_cannot_work_is_refused(
    stub: ScheduleServiceAsyncStub, facts: dict[str, Any], field: str
) -> None:
    created = await refusal(stub.CreateSchedule(create(**facts)))
    previewed = await refusal(stub.PreviewSchedule(pb.PreviewScheduleRequest(plan=plan(**facts))))
    await stub.CreateSchedule(create())
    updated = await refusal(stub.UpdateSchedule(pb.UpdateScheduleRequest(schedule_id="s", plan=plan(**facts))))

    for fault in (created, previewed, updated):
        assert isinstance(fault, ScheduleInvalid)
        assert list(violations(fault)) == [field]


async def test_an_unknown_workflow_and_a_bad_input_are_refused_as_a_start_would(stub: ScheduleServiceAsyncStub) -> None:
    unknown = await refusal(stub.CreateSchedule(create(target={"workflow": "v"})))
    version = await refusal(stub.CreateSchedule(create(target={"workflow_version": "9.9.9"})))
    bad = Payload(data=json.dumps({"n": "x", "m": 1}).encode())
    unfit = await refusal(stub.CreateSchedule(create(target={"input": bad})))
    field = await refusal(stub.CreateSchedule(create(target={"moment_field": "date"})))

    assert isinstance(unknown, DefinitionNotFound)
    assert isinstance(version, DefinitionNotFound)
    assert isinstance(unfit, ExecutionInputInvalid)
    assert list(violations(unfit)) == ["input.n", "input.m"]
    assert isinstance(field, ExecutionInputInvalid)
    assert violations(field) == {"input.date": "is not declared; known: day, n"}


async def test_an_update_replaces_the_plan_that_the_caller_has_seen(stub: ScheduleServiceAsyncStub) -> None:
    await stub.CreateSchedule(create())
    request = pb.UpdateScheduleRequest(schedule_id="s", plan=plan(max_starts=3), revision=1)
    updated = await stub.UpdateSchedule(request)
    repeated = await stub.UpdateSchedule(request)
    stale = await refusal(
        stub.UpdateSchedule(pb.UpdateScheduleRequest(schedule_id="s", plan=plan(max_starts=4), revision=1))
    )

    assert (updated.schedule.revision, updated.schedule.plan.max_starts) == (2, 3)
    assert len(updated.schedule.next_moments) == 3
    assert repeated == updated
    assert isinstance(stale, ScheduleChanged)
    assert (stale.metadata["expected"], stale.metadata["found"]) == ("1", "2")


async def test_a_pause_says_by_whom_and_why_until_it_is_over(stub: ScheduleServiceAsyncStub, running: Running) -> None:
    await stub.CreateSchedule(create())
    paused = await stub.PauseSchedule(pb.PauseScheduleRequest(schedule_id="s", by="ann", reason="release\nday"))
    running.clock.advance(60)
    await running.until(lambda schedule: schedule.tally.skipped == 1)
    again = await stub.PauseSchedule(pb.PauseScheduleRequest(schedule_id="s", by="bob", reason="still"))
    resumed = await stub.ResumeSchedule(pb.ResumeScheduleRequest(schedule_id="s"))
    twice = await stub.ResumeSchedule(pb.ResumeScheduleRequest(schedule_id="s"))

    assert (paused.schedule.pause.by, paused.schedule.pause.reason) == ("ann", "release day")
    assert (again.schedule.pause.by, again.schedule.pause.at) == ("bob", moment(NOON))
    assert not resumed.schedule.HasField("pause")
    assert twice == resumed


async def test_a_schedule_may_begin_paused(stub: ScheduleServiceAsyncStub) -> None:
    request = create()
    request.pause.reason = "not yet"
    created = await stub.CreateSchedule(request)

    assert created.schedule.pause.reason == "not yet"
    assert created.schedule.pause.at == moment(NOON)


async def test_lists_come_in_pages_and_by_what_is_wanted(stub: ScheduleServiceAsyncStub) -> None:
    for number in range(5):
        await stub.CreateSchedule(create(f"s-{number}"))
    await stub.PauseSchedule(pb.PauseScheduleRequest(schedule_id="s-3"))
    found: list[str] = []
    token = ""
    while True:
        page = await stub.ListSchedules(pb.ListSchedulesRequest(page_size=2, page_token=token))
        found += [schedule.schedule_id for schedule in page.schedules]
        if not (token := page.next_page_token):
            break
    paused = await stub.ListSchedules(pb.ListSchedulesRequest(paused_only=True))
    others = await stub.ListSchedules(pb.ListSchedulesRequest(workflow="v"))
    elsewhere = await stub.ListSchedules(pb.ListSchedulesRequest(namespace="other"))

    assert found == [f"s-{number}" for number in range(5)]
    assert [schedule.schedule_id for schedule in paused.schedules] == ["s-3"]
    assert not others.schedules
    assert not elsewhere.schedules
    assert isinstance(await refusal(stub.ListSchedules(pb.ListSchedulesRequest(page_token="x"))), InvalidRequest)


async def test_a_trigger_starts_once_for_one_request(stub: ScheduleServiceAsyncStub, running: Running) -> None:
    await stub.CreateSchedule(create())
    trace, span = "ab" * 16, "cd" * 8
    request = pb.TriggerScheduleRequest(schedule_id="s", request_id="r")
    first = await stub.TriggerSchedule(request, metadata=(("traceparent", f"00-{trace}-{span}-01"),))
    again = await stub.TriggerSchedule(request)
    newer: Any = {"overlap_policy": 99}
    unknown = await refusal(stub.TriggerSchedule(pb.TriggerScheduleRequest(schedule_id="s", **newer)))
    bad = await refusal(stub.TriggerSchedule(pb.TriggerScheduleRequest(schedule_id="s", request_id="not an id")))

    assert first == again
    assert first.run.state == schedule_pb2.SCHEDULE_RUN_STATE_STARTED
    assert running.starter.ids == [first.run.execution_id] == ["s-20261125T120000Z-manual"]
    assert running.starter.starts[0].linked_span == f"{trace}-{span}"
    assert list(violations(unknown)) == ["overlap_policy"]
    assert list(violations(bad)) == ["request_id"]


async def test_a_backfill_takes_the_moments_of_a_range(stub: ScheduleServiceAsyncStub, running: Running) -> None:
    await stub.CreateSchedule(create())
    request = pb.BackfillScheduleRequest(
        schedule_id="s",
        overlap_policy=schedule_pb2.OVERLAP_POLICY_ALLOW_ALL,
        start_at=moment(NOON - 2 * MINUTE),
        end_at=moment(NOON),
    )
    filled = await stub.BackfillSchedule(request)
    await running.starter.until(lambda: len(running.starter.ids) == 3)

    assert [run.moment for run in filled.runs] == [moment(NOON - number * MINUTE) for number in (2, 1, 0)]
    assert [run.execution_id for run in filled.runs] == running.starter.ids
    assert {run.occasion for run in filled.runs} == {schedule_pb2.SCHEDULE_OCCASION_BACKFILLED}


@pytest.mark.parametrize(
    ("start", "end", "fields"),
    [
        (None, None, ["start_at", "end_at"]),
        (NOON, NOON + MINUTE, ["end_at"]),
        (NOON, NOON - MINUTE, ["end_at"]),
        (NOON - 30 * SECOND, NOON - 20 * SECOND, ["end_at"]),
        (NOON - 2000 * MINUTE, NOON, ["end_at"]),
        (-(1 << 61) * SECOND, NOON, ["start_at"]),
    ],
)
async def test_a_backfill_of_no_such_range_is_refused(
    stub: ScheduleServiceAsyncStub, start: int | None, end: int | None, fields: list[str]
) -> None:
    await stub.CreateSchedule(create())
    request = pb.BackfillScheduleRequest(schedule_id="s")
    for field, value in ((request.start_at, start), (request.end_at, end)):
        if value is not None:
            field.CopyFrom(moment(value))

    fault = await refusal(stub.BackfillSchedule(request))

    assert isinstance(fault, InvalidRequest)
    assert list(violations(fault)) == fields


async def test_a_preview_tells_moments_and_starts_nothing(stub: ScheduleServiceAsyncStub, running: Running) -> None:
    berlin = plan(timetable={"crons": ["30 2 * * *"], "time_zone": "Europe/Berlin"})
    after = Timestamp(seconds=IN_2026)
    previewed = await stub.PreviewSchedule(pb.PreviewScheduleRequest(plan=berlin, after=after, count=2))
    await stub.CreateSchedule(create(timetable={"jitter_seconds": 30}))
    known = await stub.PreviewSchedule(pb.PreviewScheduleRequest(schedule_id="s"))
    shown = (await stub.GetSchedule(pb.GetScheduleRequest(schedule_id="s"))).schedule
    bad = await refusal(stub.PreviewSchedule(pb.PreviewScheduleRequest(schedule_id="s", count=-1)))
    far = Timestamp(seconds=1 << 62)
    late = await refusal(stub.PreviewSchedule(pb.PreviewScheduleRequest(schedule_id="s", after=far)))

    assert [one.moment.seconds for one in previewed.moments] == [IN_2026 + 5400, IN_2026 + 5400 + 86_400]
    assert list(known.moments) == list(shown.next_moments)
    assert any(one.moment != one.due for one in known.moments)
    assert list(violations(bad)) == ["count"]
    assert list(violations(late)) == ["after"]
    assert running.starter.ids == []


async def test_what_is_not_there_is_said_with_the_command_that_lists(stub: ScheduleServiceAsyncStub) -> None:
    for call in (
        stub.GetSchedule(pb.GetScheduleRequest(schedule_id="x")),
        stub.UpdateSchedule(pb.UpdateScheduleRequest(schedule_id="x", plan=plan())),
        stub.PauseSchedule(pb.PauseScheduleRequest(schedule_id="x")),
        stub.ResumeSchedule(pb.ResumeScheduleRequest(schedule_id="x")),
        stub.TriggerSchedule(pb.TriggerScheduleRequest(schedule_id="x")),
        stub.BackfillSchedule(pb.BackfillScheduleRequest(schedule_id="x")),
        stub.PreviewSchedule(pb.PreviewScheduleRequest(schedule_id="x")),
    ):
        fault = await refusal(call)
        assert isinstance(fault, ScheduleNotFound)
        assert "forgemesh schedule list" in fault.message
    assert not (await stub.DeleteSchedule(pb.DeleteScheduleRequest(schedule_id="x"))).deleted


async def test_a_schedule_is_deleted(stub: ScheduleServiceAsyncStub) -> None:
    await stub.CreateSchedule(create())
    deleted = await stub.DeleteSchedule(pb.DeleteScheduleRequest(schedule_id="s"))
    listed = await stub.ListSchedules(pb.ListSchedulesRequest())

    assert deleted.deleted
    assert not listed.schedules
