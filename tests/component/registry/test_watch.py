from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.faults.registry import RevisionCompacted
from forgemesh.faults.service import ShuttingDown
from forgemesh.registry.main import running
from tests.component.registry.registries import (
    DEADLINE,
    goodbye,
    listed,
    refusing,
    registration,
    registry_at,
    settings_of,
    watching,
)
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


async def test_a_watch_starts_with_everything_and_goes_on_with_each_change_in_order(
    registry: RegistryServiceAsyncStub,
) -> None:
    first = await registry.RegisterInstance(registration("stats-1"))
    async with watching(registry) as steps:
        everything = await anext(steps)
        second = await registry.RegisterInstance(registration("stats-2"))
        await registry.DeregisterInstance(goodbye(first))
        changed, gone = await anext(steps), await anext(steps)

    assert list(everything.all.instances) == [first.instance]
    assert everything.revision == first.revision
    assert (changed.changed, changed.revision) == (second.instance, second.revision)
    assert gone.gone.reason == pb.GONE_REASON_DEREGISTERED
    assert gone.revision.revision == second.revision.revision + 1


async def test_what_a_watcher_is_told_is_listed_already(registry: RegistryServiceAsyncStub) -> None:
    async with watching(registry) as steps:
        await anext(steps)
        for number in range(10):
            registered = asyncio.ensure_future(registry.RegisterInstance(registration(f"stats-{number}")))
            assert (await anext(steps)).changed.instance_id in await listed(registry)
            await registered


async def test_a_watch_goes_on_where_an_earlier_one_stopped(registry: RegistryServiceAsyncStub) -> None:
    first = await registry.RegisterInstance(registration("stats-1"))
    second = await registry.RegisterInstance(registration("stats-2"))
    await registry.DeregisterInstance(goodbye(first))
    async with watching(registry, first.revision) as steps:
        changed, gone = await anext(steps), await anext(steps)

    assert changed.changed == second.instance
    assert gone.gone.instance_id == "stats-1"


async def test_a_watcher_that_missed_nothing_is_told_so_at_once(registry: RegistryServiceAsyncStub) -> None:
    registered = await registry.RegisterInstance(registration())
    call = registry.WatchInstances(pb.WatchInstancesRequest(resume_after=registered.revision))
    async with asyncio.timeout(DEADLINE):
        message = await anext(aiter(call))
    call.cancel()

    assert message.HasField("bookmark")
    assert message.revision == registered.revision


async def test_a_quiet_watch_shows_that_the_registry_is_alive(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock, bookmark=0.02) as registry:
        call = registry.WatchInstances(pb.WatchInstancesRequest())
        async with asyncio.timeout(DEADLINE):
            messages = aiter(call)
            kinds = [(await anext(messages)).WhichOneof("kind") for _ in range(3)]
        call.cancel()

    assert kinds == ["all", "bookmark", "bookmark"]


async def test_a_watch_from_a_forgotten_revision_is_refused(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock, remembered_changes=3) as registry:
        first = await registry.RegisterInstance(registration("stats-0"))
        for number in range(1, 5):
            await registry.RegisterInstance(registration(f"stats-{number}"))

        with refusing(RevisionCompacted):
            async with watching(registry, first.revision) as steps:
                await anext(steps)


async def test_a_watch_from_another_history_or_from_the_future_is_refused(registry: RegistryServiceAsyncStub) -> None:
    here = (await registry.RegisterInstance(registration())).revision
    for elsewhere in (
        instance_pb2.Revision(epoch=here.epoch + 1, revision=here.revision),
        instance_pb2.Revision(epoch=here.epoch, revision=here.revision + 1),
    ):
        with refusing(RevisionCompacted):
            async with watching(registry, elsewhere) as steps:
                await anext(steps)


async def test_a_watch_goes_on_over_a_restart_of_the_registry(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock) as registry:
        first = await registry.RegisterInstance(registration("stats-1"))
    async with registry_at(database, clock) as registry, watching(registry, first.revision) as steps:
        second = await registry.RegisterInstance(registration("stats-2"))

        assert (await anext(steps)).changed == second.instance


async def test_a_watcher_that_reads_too_slowly_is_told_to_start_over(database: Path, clock: ManualClock) -> None:
    """The flow control of the stream holds its messages back; the registry remembers no more than it is told to."""
    big = registration("big")
    for number in range(30):
        big.instance.labels[f"label-{number}"] = "x" * 500
    async with registry_at(database, clock, remembered_changes=2) as registry:
        call = registry.WatchInstances(pb.WatchInstancesRequest())
        messages = aiter(call)
        await anext(messages)
        for _ in range(400):
            await registry.RegisterInstance(big)

        with refusing(RevisionCompacted):
            async with asyncio.timeout(DEADLINE):
                async for _ in messages:
                    pass


async def test_watches_end_when_the_registry_stops(database: Path, clock: ManualClock) -> None:
    async with contextlib.AsyncExitStack() as outlasting:
        async with running(settings_of(database), clock) as server:
            channel = await outlasting.enter_async_context(connect(server.address))
            call = RegistryServiceStub(channel).WatchInstances(pb.WatchInstancesRequest())
            messages = aiter(call)
            await anext(messages)

        with refusing(ShuttingDown):
            await anext(messages)
