"""Two processes that register as one instance."""

import logging
from pathlib import Path

import pytest

from forgemesh.api.registry.v1 import event_pb2, registry_service_pb2 as pb
from tests.component.registry.registries import goodbye, registration, registry_at
from tests.component.registry.test_events import hearing
from tests.manual_clock import ManualClock

CONTESTED = event_pb2.EVENT_KIND_CONTESTED


def process(
    number: int, *, address: str = "", ttl: int = 15, instance_id: str = "stats-1"
) -> pb.RegisterInstanceRequest:
    """What process `number` registers with."""
    request = registration(instance_id, ttl=ttl)
    request.instance.address = address or f"127.0.0.1:{7000 + number}"
    request.instance.labels.update({"pid": str(number), "host": "mill"})
    return request


async def events_of(
    tmp_path: Path, clock: ManualClock, *requests: pb.RegisterInstanceRequest | float
) -> list[event_pb2.Event]:
    """All events but those of registrations; a number is time that passes."""
    last = process(99, instance_id="last-1")
    found: list[event_pb2.Event] = []
    async with registry_at(tmp_path / "registry.db", clock) as registry, hearing(registry) as events:
        for request in (*requests, last):
            if isinstance(request, pb.RegisterInstanceRequest):
                await registry.RegisterInstance(request)
            else:
                clock.now += request
        async for event in events:
            if event.instance_id == "last-1":
                return found
            if event.kind == CONTESTED:
                found.append(event)
    raise AssertionError


async def test_processes_that_take_turns_are_both_named_in_an_event_and_a_warning(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        [event] = await events_of(tmp_path, clock, process(1), process(2), 5.0, process(1), 5.0, process(2))

    one, other = "pid 2 on mill at 127.0.0.1:7002", "pid 1 on mill at 127.0.0.1:7001"
    assert dict(event.facts) == {"one": one, "other": other}
    assert (event.instance_id, event.plugin_id) == ("stats-1", "weather.stats")
    assert one in event.message
    assert other in event.message
    assert "instance id of its own" in event.message
    assert [record.message for record in caplog.records if "in turns" in record.message] == [event.message]


async def test_three_that_take_turns_are_noticed_too(tmp_path: Path, clock: ManualClock) -> None:
    assert len(await events_of(tmp_path, clock, process(1), process(2), process(3), process(1))) == 1


async def test_turns_that_go_on_are_told_once_a_minute(tmp_path: Path, clock: ManualClock) -> None:
    turns = [one for _ in range(12) for one in (process(1), 5.0, process(2), 5.0)]

    assert len(await events_of(tmp_path, clock, *turns)) == 2


async def test_a_process_that_is_started_anew_again_and_again_contests_nothing(
    tmp_path: Path, clock: ManualClock
) -> None:
    anew = [process(number, address="127.0.0.1:7001") for number in range(1, 20)]

    assert await events_of(tmp_path, clock, *anew) == []


async def test_a_process_that_registers_anew_itself_contests_nothing(tmp_path: Path, clock: ManualClock) -> None:
    assert await events_of(tmp_path, clock, process(1), process(1), 20.0, process(1), process(1)) == []


async def test_two_that_take_over_from_one_another_now_and_then_contest_nothing(
    tmp_path: Path, clock: ManualClock
) -> None:
    assert await events_of(tmp_path, clock, process(1, ttl=600), process(2, ttl=15), 2401.0, process(1)) == []


async def test_who_comes_back_after_the_other_said_goodbye_contests_nothing(tmp_path: Path, clock: ManualClock) -> None:
    async with registry_at(tmp_path / "registry.db", clock) as registry, hearing(registry) as events:
        await registry.RegisterInstance(process(1))
        second = await registry.RegisterInstance(process(2))
        await registry.DeregisterInstance(goodbye(second))
        await registry.RegisterInstance(process(1))
        await registry.RegisterInstance(process(99, instance_id="last-1"))
        found = []
        async for event in events:
            found.append(event.kind)
            if event.instance_id == "last-1":
                break

    assert CONTESTED not in found
