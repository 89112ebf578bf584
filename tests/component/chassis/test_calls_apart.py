"""Calls of a method that has a line of its own wait for no others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.channel import connect
from forgemesh.faults.service import InvalidRequest
from tests.component.chassis.mill import PATIENCE, SERVICE, Mill, running
from tests.component.chassis.test_guard import refusal

CROWD = 600
STREAM = f"/{SERVICE}/UnaryStream"


async def begun_before(mill: Mill, begun: list[bytes], call: Callable[[], Awaitable[Any]]) -> int:
    """How many of a crowd's calls, all of which came first, the server has looked at when it has answered the call."""
    crowd = [asyncio.create_task(mill.call("UnaryUnary")) for _ in range(CROWD)]
    while not begun:
        await asyncio.sleep(0)
    await call()
    found = len(begun)
    await asyncio.gather(*crowd)
    assert len(begun) >= CROWD
    return found


async def test_a_health_check_on_the_main_port_does_not_wait_behind_a_crowd() -> None:
    begun: list[bytes] = []

    async def act(request: bytes, context: Any) -> bytes:
        begun.append(request)
        return request

    async with running(act) as mill, connect(mill.serving.address) as channel:
        await channel.channel_ready()
        stub = health_pb2_grpc.HealthStub(channel)
        found = await begun_before(mill, begun, lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE))

    assert found < CROWD / 4


@pytest.mark.parametrize("apart", [(), (STREAM,)])
async def test_a_method_is_answered_alike_with_and_without_a_line_of_its_own(apart: tuple[str, ...]) -> None:
    async with running(apart=apart) as mill:
        answers = await mill.call("UnaryStream")

    assert answers == [b"GRAIN"] * 3


async def test_a_method_with_a_line_of_its_own_is_guarded_too() -> None:
    async def act(request: bytes, context: Any) -> bytes:
        raise InvalidRequest([])

    async with running(act, apart=(STREAM,)) as mill:
        error = await refusal(mill, "UnaryStream")

    assert error.code().name == "INVALID_ARGUMENT"
