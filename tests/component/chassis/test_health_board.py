import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.channel import connect
from forgemesh.chassis.health import READINESS, Health
from forgemesh.chassis.health_board import WATCHES

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
DEADLINE = 180.0


@contextlib.asynccontextmanager
async def process() -> AsyncIterator[tuple[Health, Any]]:
    """The health of a process that is not ready, and a stub for its health-only port."""
    health = Health([])
    await health.start()
    async with health.serving("127.0.0.1:0") as address, connect(address, keepalive=False) as channel:
        yield health, health_pb2_grpc.HealthStub(channel)


def asked(name: str = READINESS) -> Any:
    return health_pb2.HealthCheckRequest(service=name)


async def next_status(watch: Any) -> int:
    async with asyncio.timeout(DEADLINE):
        return int((await watch.read()).status)


async def test_a_watcher_is_told_of_each_change() -> None:
    async with process() as (health, stub):
        watch = stub.Watch(asked())
        statuses = [await next_status(watch)]
        await health.ready()
        statuses.append(await next_status(watch))
        await health.not_ready()
        statuses.append(await next_status(watch))
        watch.cancel()

    assert statuses == [NOT_SERVING, SERVING, NOT_SERVING]


async def test_an_unknown_name_is_unknown_to_watch_and_not_found_by_check() -> None:
    async with process() as (_, stub):
        watch = stub.Watch(asked("unheard of"))
        assert await next_status(watch) == SERVICE_UNKNOWN
        watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(asked("unheard of"), timeout=DEADLINE)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_all_names_are_listed() -> None:
    async with process() as (_, stub):
        listed = await stub.List(health_pb2.HealthListRequest(), timeout=DEADLINE)

    assert set(listed.statuses) == {"liveness", "readiness", "startup", ""}


async def test_watchers_that_leave_while_the_status_changes_stop_nobody() -> None:
    async with process() as (health, stub), asyncio.timeout(3 * DEADLINE):
        for _ in range(30):
            watches = [stub.Watch(asked()) for _ in range(8)]
            await asyncio.gather(*(next_status(watch) for watch in watches))
            for watch in watches:
                watch.cancel()
                await health.ready()
                await health.not_ready()
        answer = await stub.Check(asked(), timeout=DEADLINE)

    assert answer.status == NOT_SERVING


async def test_watchers_without_number_leave_room_for_checks() -> None:
    async with process() as (_, stub):
        watches = [stub.Watch(asked()) for _ in range(WATCHES)]
        for watch in watches:
            await next_status(watch)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await next_status(stub.Watch(asked()))
        answer = await stub.Check(asked(), timeout=DEADLINE)
        for watch in watches:
            watch.cancel()

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answer.status == NOT_SERVING
