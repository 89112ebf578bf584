"""Hundreds of instances that come at once do not hold up the loop of a balancer."""

from __future__ import annotations

import asyncio

from forgemesh.balancer.adapters.health_check import CheckRule
from forgemesh.balancer.adapters.health_checks import HealthChecks
from forgemesh.balancer.domain.fleet import Member
from forgemesh.chassis.waking_clock import waking_clock

CROWD = 100
PATIENCE = 60.0


def member(number: int) -> Member:
    return Member(
        instance_id=f"i-{number}",
        incarnation=number,
        plugin_id="p",
        plugin_version="1.0.0",
        address="127.0.0.1:9",
        health_address="127.0.0.1:9",
    )


async def test_the_checks_of_a_crowd_begin_one_after_another_and_all_of_them_begin() -> None:
    told: set[str] = set()
    async with waking_clock() as clock, HealthChecks(CheckRule(3600.0, 1.0, 1), clock) as checks:
        checks.follow([member(n) for n in range(CROWD)], lambda instance_id, *_: told.add(instance_id))
        for _ in range(10):
            await asyncio.sleep(0)
        begun = len(checks._checks)

        async with asyncio.timeout(PATIENCE):
            while len(told) < CROWD:
                await asyncio.sleep(0.02)

    assert begun <= 10
