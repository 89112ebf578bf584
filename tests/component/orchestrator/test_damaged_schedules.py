"""Schedules that cannot be read, or are too large to be listed together."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from forgemesh.api.orchestrator.v1 import schedule_service_pb2 as pb
from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import connect
from forgemesh.faults.schedule import ScheduleInvalid
from forgemesh.faults.service import DataCorrupted
from tests.component.orchestrator.schedules import served_schedules
from tests.component.orchestrator.test_schedule_servicer import create, refusal, violations


async def test_schedules_with_large_inputs_are_listed_page_by_page(tmp_path: Path) -> None:
    async with served_schedules(tmp_path) as (_, address), connect(address) as channel:
        pages = await pages_of(ScheduleServiceStub(channel))

    assert pages == [["a"], ["b"], ["c"]]


async def pages_of(stub: Any) -> list[list[str]]:
    large = Payload(data=json.dumps({"day": "x" * 3_000_000}).encode())
    for name in ("a", "b", "c"):
        await stub.CreateSchedule(create(name, target={"input": large}))
    request = pb.ListSchedulesRequest()
    pages: list[list[str]] = []
    while not pages or request.page_token:
        page = await stub.ListSchedules(request)
        pages.append([one.schedule_id for one in page.schedules])
        request.page_token = page.next_page_token
    return pages


async def test_a_schedule_that_cannot_be_read_is_named_refused_and_can_be_deleted(tmp_path: Path) -> None:
    async with served_schedules(tmp_path) as (_, address), connect(address) as channel:
        for name in ("broken", "sound"):
            await ScheduleServiceStub(channel).CreateSchedule(create(name))
    with sqlite3.connect(tmp_path / "schedules.db") as connection:
        connection.execute("UPDATE schedule SET used = used + 1 WHERE schedule_id = 'broken'")
    connection.close()

    async with served_schedules(tmp_path) as (_, address), connect(address) as channel:
        again = ScheduleServiceStub(channel)
        listed = await again.ListSchedules(pb.ListSchedulesRequest())
        refused = [
            await refusal(again.GetSchedule(pb.GetScheduleRequest(schedule_id="broken"))),
            await refusal(again.CreateSchedule(create("broken"))),
            await refusal(again.TriggerSchedule(pb.TriggerScheduleRequest(schedule_id="broken"))),
        ]
        deleted = await again.DeleteSchedule(pb.DeleteScheduleRequest(schedule_id="broken"))
        created = await again.CreateSchedule(create("broken"))

    assert [one.schedule_id for one in listed.schedules] == ["sound"]
    assert "schedule 'broken' is damaged" in listed.damaged[0]
    assert "forgemesh schedule delete broken" in listed.damaged[0]
    assert [type(fault) for fault in refused] == [DataCorrupted] * 3
    assert deleted.deleted
    assert created.created


async def test_a_schedule_whose_input_is_no_json_is_refused_with_the_field(tmp_path: Path) -> None:
    async with served_schedules(tmp_path) as (_, address), connect(address) as channel:
        stub = ScheduleServiceStub(channel)
        fault = await refusal(stub.CreateSchedule(create(target={"input": Payload(data=b'{"n": NaN}')})))

    assert isinstance(fault, ScheduleInvalid)
    assert "is not valid JSON" in violations(fault)["plan.target.input"]
