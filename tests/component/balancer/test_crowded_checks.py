"""Hundreds of instances that come at once do not hold up the loop of a balancer."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.balancer.adapters.health_check import CheckRule, HealthCheck
from forgemesh.balancer.adapters.health_checks import HealthChecks
from forgemesh.balancer.adapters.one_by_one import OneByOne
from forgemesh.balancer.domain.fleet import Member
from forgemesh.chassis.waking_clock import waking_clock

CROWD = 100
PATIENCE = 180.0


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


async def test_those_who_take_turns_begin_one_in_a_round_and_in_order() -> None:
    calling, begun, most, before = OneByOne(), list[int](), 0, 0

    async def one(number: int) -> None:
        await calling.turn()
        begun.append(number)

    tasks = [asyncio.create_task(one(n)) for n in range(CROWD)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        most, before = max(most, len(begun) - before), len(begun)

    assert most == 1
    assert begun == list(range(CROWD))


class Broken(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no types
    """Answers a Check, and breaks every Watch at once."""

    def __init__(self) -> None:
        self.checks = self.watches = 0

    async def Check(self, request: Any, context: Any) -> Any:
        self.checks += 1
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def Watch(self, request: Any, context: Any) -> None:
        self.watches += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


async def test_a_watch_that_never_speaks_does_not_make_checks_come_more_often() -> None:
    broken, server = Broken(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(broken, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with waking_clock() as clock:
        check = HealthCheck(address, CheckRule(3600.0, PATIENCE, 1), lambda verdict: None, clock)
        task = asyncio.create_task(check.run())
        async with asyncio.timeout(PATIENCE):
            while broken.watches < 4:
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await server.stop(None)

    assert broken.checks == 1
