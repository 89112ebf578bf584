import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.health import LIVENESS, OVERALL, READINESS, STARTUP
from forgemesh.chassis.health_board import WATCHES
from tests.component.chassis.mill import PATIENCE, SERVICE, Mill, outlived, running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NAMES = (LIVENESS, STARTUP, READINESS, SERVICE, OVERALL)
ALL = dict.fromkeys(NAMES, SERVING)
NOT_READY = dict.fromkeys((READINESS, SERVICE, OVERALL), NOT_SERVING)


async def statuses(address: str) -> dict[str, int]:
    """What a port says about every name."""
    async with grpc.aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return {
            name: (await check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)).status for name in NAMES
        }


class Watcher:
    """Notes from a thread what the health port says about one name; works while the event loop stands still."""

    def __init__(self, address: str, name: str) -> None:
        self._channel = grpc.insecure_channel(address)
        request = health_pb2.HealthCheckRequest(service=name)
        self._call: Any = health_pb2_grpc.HealthStub(self._channel).Watch(request, timeout=PATIENCE)
        self._changed = threading.Condition()
        self.seen: list[int] = []
        self._thread = threading.Thread(target=self._note)
        self._thread.start()

    def _note(self) -> None:
        try:
            for answer in self._call:
                with self._changed:
                    self.seen.append(answer.status)
                    self._changed.notify_all()
        except grpc.RpcError:
            pass

    def await_statuses(self, *wanted: int) -> None:
        """Block this thread, and the loop if it is the loop's, until exactly these were seen one after the other."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.seen == list(wanted), PATIENCE), self.seen

    def close(self) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()


@pytest.fixture
def watchers() -> Iterator[list[Watcher]]:
    opened: list[Watcher] = []
    yield opened
    for watcher in opened:
        watcher.close()


async def both_ports(mill: Mill) -> tuple[dict[str, int], dict[str, int]]:
    return await statuses(mill.serving.address), await statuses(mill.serving.health_address)


async def test_until_it_says_so_a_process_is_alive_and_neither_started_nor_ready() -> None:
    async with running() as mill:
        main, apart = await both_ports(mill)

    assert main == apart == NOT_READY | {LIVENESS: SERVING, STARTUP: NOT_SERVING}


async def test_a_ready_process_serves_under_every_name_on_both_ports() -> None:
    async with running() as mill:
        await mill.health.ready()
        main, apart = await both_ports(mill)

    assert main == apart == ALL


async def test_a_process_that_takes_no_more_work_stays_alive_and_started() -> None:
    async with running() as mill:
        await mill.health.ready()
        await mill.health.not_ready()
        main, apart = await both_ports(mill)

    assert main == apart == ALL | NOT_READY


@pytest.mark.parametrize("port", ["address", "health_address"])
async def test_a_name_that_nobody_knows_is_not_found(port: str) -> None:
    async with running() as mill, grpc.aio.insecure_channel(getattr(mill.serving, port)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="test.Nobody")

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(request, timeout=PATIENCE)
        watched = await stub.Watch(request, timeout=PATIENCE).read()

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert watched.status == SERVICE_UNKNOWN


@pytest.mark.parametrize("port", ["address", "health_address"])
async def test_a_watcher_sees_every_turn(port: str) -> None:
    async with running() as mill, grpc.aio.insecure_channel(getattr(mill.serving, port)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE)
        seen = [(await watch.read()).status]
        for turn in (mill.health.ready, mill.health.not_ready, mill.health.ready):
            await turn()
            seen.append((await watch.read()).status)
        watch.cancel()

    assert seen == [NOT_SERVING, SERVING, NOT_SERVING, SERVING]


async def test_a_blocked_loop_is_not_ready_and_ready_again_when_it_turns(watchers: list[Watcher]) -> None:
    async with running(stall=0.2) as mill:
        await mill.health.ready()
        readiness, service = (Watcher(mill.serving.health_address, name) for name in (READINESS, SERVICE))
        watchers += (readiness, service)

        for watcher in watchers:  # this blocks the loop until the port has told that it is blocked
            watcher.await_statuses(SERVING, NOT_SERVING)

        for watcher in watchers:
            await asyncio.to_thread(watcher.await_statuses, SERVING, NOT_SERVING, SERVING)


async def test_a_loop_that_stays_blocked_is_not_alive(watchers: list[Watcher]) -> None:
    async with running(stall=0.05) as mill:
        await mill.health.ready()
        watchers.append(Watcher(mill.serving.health_address, LIVENESS))

        watchers[0].await_statuses(SERVING, NOT_SERVING)

        await asyncio.to_thread(watchers[0].await_statuses, SERVING, NOT_SERVING, SERVING)


async def test_a_process_that_is_not_ready_does_not_become_ready_by_a_blocked_loop(watchers: list[Watcher]) -> None:
    async with running(stall=0.05) as mill:
        watchers += (Watcher(mill.serving.health_address, name) for name in (READINESS, LIVENESS))

        watchers[1].await_statuses(SERVING, NOT_SERVING)
        await asyncio.to_thread(watchers[1].await_statuses, SERVING, NOT_SERVING, SERVING)

        assert watchers[0].seen == [NOT_SERVING]


async def test_more_watchers_than_threads_are_refused_and_checks_are_still_answered() -> None:
    async with running() as mill, grpc.aio.insecure_channel(mill.serving.health_address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        watches = [stub.Watch(request, timeout=PATIENCE) for _ in range(WATCHES)]
        for watch in watches:
            await watch.read()

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Watch(request, timeout=PATIENCE).read()
        answer = await stub.Check(request, timeout=PATIENCE)
        for watch in watches:
            watch.cancel()

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answer.status == NOT_SERVING


async def test_a_drain_is_announced_before_calls_are_refused(watchers: list[Watcher]) -> None:
    async with outlived(drain_delay=0.5) as (mill, stop):
        await mill.health.ready()
        watchers += (Watcher(mill.serving.health_address, name) for name in (READINESS, LIVENESS))
        for watcher in watchers:
            await asyncio.to_thread(watcher.await_statuses, SERVING)
        stopping = asyncio.ensure_future(stop())

        await asyncio.to_thread(watchers[0].await_statuses, SERVING, NOT_SERVING)
        answers = await mill.call("UnaryUnary")
        still_alive = watchers[1].seen == [SERVING]
        await stopping

    assert answers == [b"GRAIN"]
    assert still_alive
