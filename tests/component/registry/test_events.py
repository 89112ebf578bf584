from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import availability_pb2, event_pb2, instance_pb2, registry_service_pb2 as pb
from forgemesh.faults.registry import RevisionCompacted
from forgemesh.faults.service import InvalidRequest
from tests.component.registry.registries import (
    DEADLINE,
    goodbye,
    listed,
    refusing,
    registration,
    registry_at,
    renewal,
)
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


@contextlib.asynccontextmanager
async def hearing(
    registry: RegistryServiceAsyncStub, resume_after: instance_pb2.Revision | None = None, plugin_id: str = ""
) -> AsyncIterator[AsyncGenerator[event_pb2.Event, None]]:
    """The events of a watch, which stands when the block begins; each must come in time."""
    call = registry.WatchEvents(pb.WatchEventsRequest(resume_after=resume_after, plugin_id=plugin_id))
    messages = aiter(call)

    async def events() -> AsyncGenerator[event_pb2.Event, None]:
        while True:
            async with asyncio.timeout(DEADLINE):
                message = await anext(messages)
            if message.HasField("event"):
                yield message.event

    async with asyncio.timeout(DEADLINE):
        assert not (await anext(messages)).HasField("event")
    try:
        async with contextlib.aclosing(events()) as generator:
            yield generator
    finally:
        call.cancel()


async def kinds(events: AsyncGenerator[event_pb2.Event, None], count: int) -> list[str]:
    found = [await anext(events) for _ in range(count)]
    return [event_pb2.EventKind.Name(event.kind).removeprefix("EVENT_KIND_") for event in found]


def verdict(
    registered: pb.RegisterInstanceResponse, *, available: bool, epoch: int = 1
) -> pb.ReportAvailabilityRequest:
    instance = registered.instance
    change = availability_pb2.Availability(
        instance_id=instance.instance_id, incarnation=instance.incarnation, available=available, reason="it says so"
    )
    return pb.ReportAvailabilityRequest(balancer_epoch=epoch, changes=[change])


async def test_the_life_of_an_instance_is_told_in_order_and_after_it_can_be_read(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    manifest = manifest_pb2.Manifest(
        plugin_id="weather.stats", version="1.0.0", operations=[manifest_pb2.Operation(name="mean")]
    )
    async with hearing(registry) as events:
        await registry.PublishManifest(pb.PublishManifestRequest(manifest=manifest))
        registered = await registry.RegisterInstance(registration())
        assert await kinds(events, 1) == ["PUBLISHED"]
        event = await anext(events)
        assert await listed(registry) == ["stats-1"]
        await registry.DeregisterInstance(goodbye(registered, drain=True))
        await registry.DeregisterInstance(goodbye(registered))
        await registry.RegisterInstance(registration())
        assert await kinds(events, 3) == ["DRAINING", "DEREGISTERED", "REGISTERED"]
        clock.advance(15)
        gone = await anext(events)
        assert await listed(registry) == []

    assert event.kind == event_pb2.EVENT_KIND_REGISTERED
    assert (event.plugin_id, event.plugin_version, event.instance_id) == ("weather.stats", "1.0.0", "stats-1")
    assert (event.incarnation, event.source) == (registered.instance.incarnation, "registry")
    assert (gone.kind, gone.message) == (event_pb2.EVENT_KIND_EXPIRED, "instance stats-1 is gone: its lease expired")


async def test_availability_is_told_once_for_each_change(registry: RegistryServiceAsyncStub) -> None:
    registered = await registry.RegisterInstance(registration())
    async with hearing(registry) as events:
        for available, epoch in ((True, 2), (True, 2), (False, 1), (False, 2), (False, 3), (True, 3)):
            await registry.ReportAvailability(verdict(registered, available=available, epoch=epoch))
        again = await registry.RegisterInstance(registration())
        await registry.ReportAvailability(verdict(registered, available=False, epoch=3))
        await registry.ReportAvailability(verdict(again, available=True, epoch=3))

        told = await kinds(events, 5)

    assert told == ["AVAILABLE", "UNAVAILABLE", "AVAILABLE", "REGISTERED", "AVAILABLE"]


async def test_what_others_report_is_taken_once_however_often_it_comes(registry: RegistryServiceAsyncStub) -> None:
    def report(first: int, *messages: str) -> pb.ReportEventsRequest:
        events = [event_pb2.Event(kind=event_pb2.EVENT_KIND_CRASHED, message=message) for message in messages]
        return pb.ReportEventsRequest(reporter_id="supervisor-1", first=first, events=events)

    async with hearing(registry) as events:
        for request in (report(1, "a", "b"), report(1, "a", "b"), report(2, "b", "c"), report(5, "e")):
            await registry.ReportEvents(request)

        told = [(await anext(events)).message for _ in range(4)]

    assert told == ["a", "b", "c", "e"]
    with refusing(InvalidRequest):
        await registry.ReportEvents(pb.ReportEventsRequest(reporter_id="supervisor-1", first=0))


async def test_a_wish_is_told_once_a_second(registry: RegistryServiceAsyncStub, clock: ManualClock) -> None:
    async with hearing(registry) as events:
        for _ in range(20):
            await registry.RequestPlugin(pb.RequestPluginRequest(plugin_id="text.words"))
        await registry.RequestPlugin(pb.RequestPluginRequest(interface_name="words"))
        clock.advance(1)
        await registry.RequestPlugin(pb.RequestPluginRequest(plugin_id="text.words"))

        told = [await anext(events) for _ in range(3)]

    assert [(event.plugin_id, dict(event.facts)) for event in told] == [
        ("text.words", {}),
        ("", {"interface_name": "words"}),
        ("text.words", {}),
    ]
    for wrong in (
        pb.RequestPluginRequest(),
        pb.RequestPluginRequest(plugin_id="a", interface_name="b"),
        pb.RequestPluginRequest(plugin_id="No Name"),
    ):
        with refusing(InvalidRequest):
            await registry.RequestPlugin(wrong)


async def test_a_watch_goes_on_behind_the_last_event_that_was_seen(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock, remembered_changes=3) as registry:
        async with hearing(registry) as events:
            await registry.RegisterInstance(registration("a-1"))
            seen = (await anext(events)).position
        for name in ("a-2", "a-3", "a-4"):
            await registry.RegisterInstance(registration(name))

        async with hearing(registry, seen) as events:
            told = [(await anext(events)).instance_id for _ in range(3)]

        assert told == ["a-2", "a-3", "a-4"]
        await registry.RegisterInstance(registration("a-5"))
        with refusing(RevisionCompacted):
            await anext(aiter(registry.WatchEvents(pb.WatchEventsRequest(resume_after=seen))))
    async with registry_at(database, clock) as registry:
        with refusing(RevisionCompacted):
            await anext(aiter(registry.WatchEvents(pb.WatchEventsRequest(resume_after=seen))))


async def test_when_too_many_leases_run_out_at_once_the_instances_are_kept_as_suspect(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    for number in range(100):
        last = await registry.RegisterInstance(registration(f"i-{number:02}"))
    async with hearing(registry) as events:
        clock.advance(15)
        told = await kinds(events, 16)
        suspects = {one.instance_id for one in (await all_of(registry)) if one.suspect}

        await registry.RenewLease(renewal(last))
        await until_trusted(registry, "i-99")
        await registry.DeregisterInstance(goodbye(last))

    assert told == ["EXPIRED"] * 15 + ["PRESERVING"]
    assert len(suspects) == 85
    assert "i-99" not in {one.instance_id for one in await all_of(registry)}


async def all_of(registry: RegistryServiceAsyncStub) -> list[instance_pb2.Instance]:
    return list((await registry.ListInstances(pb.ListInstancesRequest(page_size=500))).instances)


async def until_trusted(registry: RegistryServiceAsyncStub, instance_id: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while any(one.suspect for one in await all_of(registry) if one.instance_id == instance_id):
            await asyncio.sleep(0)


async def test_an_instance_in_a_crash_loop_is_listed_as_such_with_the_reason(
    registry: RegistryServiceAsyncStub,
) -> None:
    request = registration()
    request.instance.state = instance_pb2.INSTANCE_STATE_CRASH_LOOP
    request.instance.state_reason = "out of memory"

    await registry.RegisterInstance(request)

    (instance,) = await all_of(registry)
    assert (instance.state, instance.state_reason) == (instance_pb2.INSTANCE_STATE_CRASH_LOOP, "out of memory")
    request.instance.state = instance_pb2.INSTANCE_STATE_QUARANTINED
    with refusing(InvalidRequest):
        await registry.RegisterInstance(request)
