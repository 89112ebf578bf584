"""Operations that go on although their calls are over, and what becomes of the calls behind them."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.faults.plugin import QueueTooLong
from tests.component.plugin_host.hosts import Served, eventually, host_at, invocation, invoke, session
from tests.component.plugin_host.kit import Kit
from tests.component.plugin_host.test_invoke import refusal

SERVING = health_pb2.HealthCheckResponse.SERVING


def line_of(method: Any, text: str) -> int:
    """Where a line of the source of a method stands in its file."""
    lines, first = inspect.getsourcelines(method)
    return first + next(number for number, line in enumerate(lines) if line.strip() == text)


@contextlib.asynccontextmanager
async def losing(operation: str, **settings: Any) -> AsyncIterator[Served]:
    """A host both places of which were lost to an operation that does not come back."""
    async with host_at(stuck=0.0, **settings) as served:
        both = [invoke(served, operation, remaining_millis=1) for _ in range(2)]
        results = await asyncio.gather(*both)
        assert [result.failure.reason for result in results] == ["START_TO_CLOSE_TIMEOUT"] * 2
        await eventually(lambda: served.host.runner.lost.all)
        yield served


async def readiness(served: Served) -> bool:
    answer = await HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(service="readiness"))
    return bool(answer.status == SERVING)


@pytest.mark.parametrize("operation", ["deaf", "stubborn"])
async def test_without_a_place_left_a_host_is_out_of_rotation_until_one_comes_back(operation: str) -> None:
    async with losing(operation) as served:
        await eventually_ready(served, False)
        fault = await refusal(served, "echo", value=1)
        served.kit.unblock.set()
        served.kit.open.set()
        await eventually_ready(served, True)
        answered = await invoke(served, "echo", value=1)

    assert isinstance(fault, QueueTooLong)
    assert fault.metadata["wait"] == "inf"
    assert answered.output.data == b"1"


async def eventually_ready(served: Served, wanted: bool) -> None:
    async with asyncio.timeout(60):
        while await readiness(served) is not wanted:
            await asyncio.sleep(0.01)


async def test_what_is_lost_is_named_with_file_and_line(caplog: pytest.LogCaptureFixture) -> None:
    async with losing("deaf"):
        pass

    line = line_of(Kit.deaf, "self.unblock.wait()")
    assert (
        f"2 of 2 places are held by operations whose calls are over: deaf at kit.py:{line} in deaf (2)" in caplog.text
    )


async def test_an_asynchronous_operation_is_found_where_it_waits(caplog: pytest.LogCaptureFixture) -> None:
    async with losing("stubborn"):
        pass

    assert f"stubborn at kit.py:{line_of(Kit.stubborn, 'await self.open.wait()')} in stubborn (2)" in caplog.text


async def test_calls_that_wait_when_the_last_place_is_lost_are_told_at_once() -> None:
    async with host_at(stuck=0.0) as served, session(served) as caller:
        await caller.send(
            *(invocation("deaf", remaining_millis=1) for _ in range(2)),
            invocation("echo", value=1, remaining_millis=60_000),
        )
        results = await caller.results(3)

    assert [results[number].failure.reason for number in (1, 2)] == ["START_TO_CLOSE_TIMEOUT"] * 2
    assert results[3].failure.reason == "QUEUE_TOO_LONG"
    assert results[3].failure.retryable


async def test_a_place_that_is_lost_for_good_gives_the_host_up_when_all_are() -> None:
    async with losing("deaf", stuck_restart=0.01) as served:
        await eventually(served.host.given_up.is_set)

    assert "none has come back for 0.01 s" in served.host.given_up.reason


async def test_a_host_with_a_place_left_goes_on() -> None:
    async with host_at(stuck=0.0, stuck_restart=0.01) as served:
        await invoke(served, "deaf", remaining_millis=1)
        answered = await invoke(served, "echo", value=1)

        assert not served.host.given_up.is_set()
        assert await readiness(served)

    assert answered.output.data == b"1"
