"""Connections that nobody uses keep nobody out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.callers import Callers, place_of
from forgemesh.chassis.channel import connect
from forgemesh.chassis.descriptors import callers_share, health_share
from tests.component.chassis.crowd import descriptors, idle_connections, still_open
from tests.component.chassis.mill import PATIENCE, Mill, running

FEW = 1024


async def level(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


async def called_anew(mill: Mill) -> list[bytes]:
    async with connect(mill.serving.address) as channel:
        return await Mill(mill.serving, channel).call("UnaryUnary")


async def checked(address: str) -> int:
    async with connect(address, keepalive=False) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=PATIENCE)
        return int(answer.status)


async def test_more_than_a_thousand_idle_connections_keep_no_newcomer_out() -> None:
    async with running() as mill, idle_connections(mill.serving.address, 1100):
        answers = await called_anew(mill)

    assert answers == [b"GRAIN"]


async def test_idle_connections_are_closed_long_before_there_is_no_room_left() -> None:
    with descriptors(FEW):
        most = callers_share(FEW) // 2
        async with running() as mill, idle_connections(mill.serving.address, callers_share(FEW)) as idle:
            await level(lambda: still_open(idle) <= most)
            answers = await called_anew(mill)

    assert answers == [b"GRAIN"]


async def test_a_call_under_way_is_not_cut_by_a_crowd_of_idle_connections() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def act(request: bytes, context: Any) -> bytes:
        began.set()
        await go_on.wait()
        return b"done"

    with descriptors(FEW):
        async with running(act) as mill:
            call = asyncio.create_task(mill.call("UnaryUnary"))
            await began.wait()
            async with idle_connections(mill.serving.address, callers_share(FEW)) as idle:
                await level(lambda: still_open(idle) < callers_share(FEW) // 2)
                go_on.set()
                answers = await call

    assert answers == [b"done"]


async def test_who_has_called_before_keeps_the_connection_that_a_crowd_never_called_on() -> None:
    """It is the one that has been quiet for longest, and its next call may be on its way."""
    peers: list[str] = []

    async def act(request: bytes, context: Any) -> bytes:
        peers.append(context.peer())
        return b"done"

    with descriptors(FEW):
        async with running(act) as mill:
            await mill.call("UnaryUnary")
            async with idle_connections(mill.serving.address, callers_share(FEW)) as idle:
                await level(lambda: still_open(idle) < callers_share(FEW) // 2)
                await mill.call("UnaryUnary")

    assert peers[0] == peers[1]


def test_what_is_remembered_of_callers_is_bounded_and_keeps_those_who_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgemesh.chassis.callers.MOST_KNOWN", 3)
    callers = Callers()
    with callers.calling("ipv4:10.0.0.7:1"):
        for port in range(2, 9):
            with callers.calling(f"ipv4:10.0.0.7:{port}"):
                pass
        known = callers.known()

    assert len(known) <= 3
    assert ("10.0.0.7", 1) in known


@pytest.mark.parametrize(("door", "share"), [("address", callers_share), ("health_address", health_share)])
async def test_health_is_told_on_both_ports_whatever_crowd_stands_at_one_of_them(
    door: str, share: Callable[[int], int]
) -> None:
    with descriptors(FEW):
        async with running() as mill, idle_connections(getattr(mill.serving, door), callers_share(FEW)) as idle:
            await level(lambda: still_open(idle) <= share(FEW) // 2)
            statuses = [await checked(mill.serving.address), await checked(mill.serving.health_address)]

    assert statuses == [health_pb2.HealthCheckResponse.SERVING] * 2


async def test_the_health_port_takes_no_more_descriptors_than_its_share() -> None:
    with descriptors(FEW):
        most = health_share(FEW) // 2
        async with running() as mill, idle_connections(mill.serving.health_address, 200) as idle:
            await level(lambda: still_open(idle) <= most)
            left = still_open(idle)

    assert left <= most


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("ipv4:10.0.0.7:40112", ("10.0.0.7", 40112)),
        ("ipv6:%5B::1%5D:40112", ("::1", 40112)),
        ("ipv6:[::1]:40112", ("::1", 40112)),
        ("ipv6:%5B::ffff:10.0.0.7%5D:1", ("10.0.0.7", 1)),
        ("unix:", ("unix", 0)),
        ("", ("unknown", 0)),
    ],
)
def test_who_calls_is_one_host_and_port_however_it_is_written(peer: str, place: tuple[str, int]) -> None:
    assert place_of(peer) == place


def test_a_connection_is_busy_until_its_last_call_has_ended() -> None:
    callers = Callers()
    first, second = callers.calling("ipv4:10.0.0.7:1"), callers.calling("ipv4:10.0.0.7:1")
    with first:
        with second:
            pass
        during = callers.busy()

    assert during == {("10.0.0.7", 1)}
    assert callers.busy() == frozenset()
