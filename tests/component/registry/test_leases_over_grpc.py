from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.faults.registry import InstanceOwnedByOther, LeaseNotFound, StaleIncarnation
from forgemesh.registry.adapters.clock import SystemClock
from forgemesh.registry.main import running
from tests.component.registry.registries import (
    goodbye,
    listed,
    refusing,
    registration,
    registry_at,
    renewal,
    settings_of,
    watching,
)
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


async def test_a_registered_instance_is_listed_until_its_lease_expires(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    async with watching(registry) as steps:
        assert not (await anext(steps)).all.instances
        registered = await registry.RegisterInstance(registration())
        assert (await anext(steps)).changed == registered.instance
        assert await listed(registry) == ["stats-1"]
        clock.advance(15)
        gone = (await anext(steps)).gone

    assert (gone.instance_id, gone.incarnation) == ("stats-1", registered.instance.incarnation)
    assert gone.reason == pb.GONE_REASON_EXPIRED
    assert await listed(registry) == []


async def test_a_renewed_lease_lasts(registry: RegistryServiceAsyncStub, clock: ManualClock) -> None:
    registered = await registry.RegisterInstance(registration())
    for _ in range(4):
        clock.advance(10)
        renewed = await registry.RenewLease(renewal(registered))
        assert renewed.ttl.seconds == 15

    assert await listed(registry) == ["stats-1"]


async def test_an_expired_lease_cannot_be_renewed(registry: RegistryServiceAsyncStub, clock: ManualClock) -> None:
    registered = await registry.RegisterInstance(registration())
    clock.advance(15)

    with refusing(LeaseNotFound):
        await registry.RenewLease(renewal(registered))


async def test_an_older_incarnation_can_neither_renew_nor_leave(registry: RegistryServiceAsyncStub) -> None:
    first = await registry.RegisterInstance(registration())
    second = await registry.RegisterInstance(registration())
    assert second.instance.incarnation > first.instance.incarnation

    with refusing(StaleIncarnation):
        await registry.RenewLease(renewal(first))
    with refusing(StaleIncarnation):
        await registry.DeregisterInstance(goodbye(first))


async def test_another_owner_waits_until_the_lease_is_over(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    registered = await registry.RegisterInstance(registration())

    with refusing(InstanceOwnedByOther):
        await registry.RegisterInstance(registration(owner="somebody else"))
    with refusing(InstanceOwnedByOther):
        await registry.RenewLease(renewal(registered, owner="somebody else"))
    clock.advance(15)
    taken = await registry.RegisterInstance(registration(owner="somebody else"))
    assert taken.instance.incarnation > registered.instance.incarnation


async def test_goodbye_acts_at_once_and_may_be_repeated(registry: RegistryServiceAsyncStub) -> None:
    registered = await registry.RegisterInstance(registration())

    assert (await registry.DeregisterInstance(goodbye(registered))).changed
    assert await listed(registry) == []
    assert not (await registry.DeregisterInstance(goodbye(registered))).changed


async def test_a_draining_instance_is_announced_and_stays_listed(registry: RegistryServiceAsyncStub) -> None:
    registered = await registry.RegisterInstance(registration())
    async with watching(registry, registered.revision) as steps:
        assert (await registry.DeregisterInstance(goodbye(registered, drain=True))).changed
        changed = (await anext(steps)).changed
        assert not (await registry.DeregisterInstance(goodbye(registered, drain=True))).changed

    assert changed.state != registered.instance.state
    assert changed.incarnation == registered.instance.incarnation
    assert await listed(registry) == ["stats-1"]


async def test_a_restart_loses_no_registration_and_gives_each_a_fresh_lease(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock) as registry:
        registered = await registry.RegisterInstance(registration("stats-1"))
        await registry.RegisterInstance(registration("stats-2"))
        clock.advance(14)

    async with registry_at(database, clock) as registry:
        clock.advance(14)
        assert await listed(registry) == ["stats-1", "stats-2"]
        async with watching(
            registry, resume := (await registry.ListInstances(pb.ListInstancesRequest())).revision
        ) as steps:
            await registry.RenewLease(renewal(registered))
            clock.advance(1)
            gone = await anext(steps)

    assert gone.gone.instance_id == "stats-2"
    assert gone.revision.epoch == resume.epoch
    assert gone.revision.revision == resume.revision + 1


async def test_incarnations_grow_over_restarts_and_deregistrations(database: Path, clock: ManualClock) -> None:
    incarnations = []
    for _ in range(3):
        async with registry_at(database, clock) as registry:
            registered = await registry.RegisterInstance(registration())
            incarnations.append(registered.instance.incarnation)
            await registry.DeregisterInstance(goodbye(registered))

    assert incarnations == sorted(set(incarnations))


async def test_a_caller_that_gives_up_leaves_nothing_half_done(registry: RegistryServiceAsyncStub) -> None:
    for number in range(20):
        call = registry.RegisterInstance(registration(f"stats-{number}"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    last = await registry.RegisterInstance(registration("last"))
    instances = (await registry.ListInstances(pb.ListInstancesRequest())).instances

    assert max(instance.incarnation for instance in instances) == last.revision.revision == len(instances)


async def test_balancer_epochs_grow_over_restarts(database: Path, clock: ManualClock) -> None:
    epochs = []
    for _ in range(2):
        async with registry_at(database, clock) as registry:
            for _ in range(2):
                request = pb.AcquireBalancerEpochRequest(balancer_id="balancer")
                epochs.append((await registry.AcquireBalancerEpoch(request)).epoch)

    assert epochs == sorted(set(epochs))


def block(seconds: float) -> None:
    """Nothing turns in this process meanwhile, the registry included."""
    time.sleep(seconds)


@contextlib.asynccontextmanager
async def registry_in_real_time(database: Path) -> AsyncIterator[RegistryServiceAsyncStub]:
    async with (
        waking_clock() as waking,
        running(settings_of(database), SystemClock(waking)) as server,
        connect(server.address) as channel,
    ):
        yield RegistryServiceStub(channel)


async def test_a_registry_that_stood_still_does_not_hold_that_against_those_who_renew(database: Path) -> None:
    async with registry_in_real_time(database) as registry:
        registered = await registry.RegisterInstance(registration(ttl=1))
        block(2.0)

        renewed = await registry.RenewLease(renewal(registered))

        assert renewed.ttl.seconds == 1
        assert await listed(registry) == ["stats-1"]


async def test_who_falls_silent_is_gone_also_after_the_registry_stood_still(database: Path) -> None:
    async with registry_in_real_time(database) as registry, watching(registry) as steps:
        await anext(steps)
        registered = await registry.RegisterInstance(registration(ttl=1))
        assert (await anext(steps)).changed == registered.instance
        block(2.0)

        assert (await anext(steps)).gone.reason == pb.GONE_REASON_EXPIRED
