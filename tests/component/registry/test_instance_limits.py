"""A registry takes a bounded number of instances, and says why it takes no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

from forgemesh.faults.registry import TooManyInstances
from tests.component.chassis.crowd import descriptors
from tests.component.registry.registries import DEADLINE, goodbye, listed, refusing, registration, registry_at, renewal
from tests.manual_clock import ManualClock


async def test_a_host_registers_two_hundred_instances_and_no_more(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock, max_instances_per_plugin=1000) as registry:
        for number in range(200):
            await registry.RegisterInstance(registration(f"stats-{number}"))

        with refusing(TooManyInstances) as refused:
            await registry.RegisterInstance(registration("one-more"))
        left = await listed(registry)

    assert "host 127.0.0.1 has 200 instances" in str(refused.value.details())
    assert "one-more" not in left


async def test_a_full_registry_keeps_those_it_has(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock, max_instances=1) as registry:
        first = await registry.RegisterInstance(registration("stats-1"))

        with refusing(TooManyInstances):
            await registry.RegisterInstance(registration("stats-2"))
        again = await registry.RegisterInstance(registration("stats-1"))
        await registry.RenewLease(renewal(again))

    assert again.instance.incarnation > first.instance.incarnation


async def test_a_place_is_free_when_an_instance_says_goodbye_or_its_lease_runs_out(
    database: Path, clock: ManualClock
) -> None:
    async with registry_at(database, clock, max_instances=1) as registry:
        first = await registry.RegisterInstance(registration("stats-1"))
        await registry.DeregisterInstance(goodbye(first))
        await registry.RegisterInstance(registration("stats-2"))

        clock.advance(16)
        async with asyncio.timeout(DEADLINE):
            while await listed(registry):
                await asyncio.sleep(0)
        await registry.RegisterInstance(registration("stats-3"))
        left = await listed(registry)

    assert left == ["stats-3"]


async def test_after_a_restart_a_host_is_counted_by_what_it_renews(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock, max_instances_per_peer=1) as registry:
        first = await registry.RegisterInstance(registration("stats-1"))

    async with registry_at(database, clock, max_instances_per_peer=1) as registry:
        await registry.RenewLease(renewal(first))

        with refusing(TooManyInstances):
            await registry.RegisterInstance(registration("stats-2"))


async def test_where_few_files_may_be_open_fewer_instances_are_taken(database: Path, clock: ManualClock) -> None:
    with descriptors(256):
        async with registry_at(database, clock) as registry:
            for number in range(80):
                await registry.RegisterInstance(registration(f"stats-{number}"))

            with refusing(TooManyInstances) as refused:
                await registry.RegisterInstance(registration("one-more"))

    assert "this registry has 80 instances" in str(refused.value.details())
