import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from forgemesh.chassis.reconcile import ReconcileLoop

NEVER = 1000.0


class World:
    """Counts the runs of the loop's function, which does `then` each time."""

    def __init__(self, then: Callable[[int], Awaitable[None]] | None = None) -> None:
        self.runs = 0
        self._then = then
        self._changed = asyncio.Condition()

    async def bring_about(self) -> None:
        async with self._changed:
            self.runs += 1
            self._changed.notify_all()
        if self._then is not None:
            await self._then(self.runs)

    async def await_runs(self, number: int) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.runs >= number)


@contextlib.asynccontextmanager
async def looping(world: World, period: float = NEVER) -> AsyncIterator[ReconcileLoop]:
    loop = ReconcileLoop("world", world.bring_about, period=period)
    running = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def settled() -> None:
    """Everything that could run without the passing of time has run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_runs_at_once_and_then_waits() -> None:
    world = World()
    async with looping(world):
        await world.await_runs(1)
        await settled()

    assert world.runs == 1


async def test_a_nudge_runs_it_soon() -> None:
    world = World()
    async with looping(world) as loop:
        await world.await_runs(1)
        await settled()
        loop.nudge()
        await world.await_runs(2)


async def test_several_nudges_before_a_run_are_one() -> None:
    world = World()
    async with looping(world) as loop:
        await world.await_runs(1)
        await settled()
        for _ in range(5):
            loop.nudge()
        await world.await_runs(2)
        await settled()

    assert world.runs == 2


async def test_a_nudge_during_a_run_is_not_missed() -> None:
    async def nudge_in_the_first_run(run: int) -> None:
        if run == 1:
            loop.nudge()

    world = World(nudge_in_the_first_run)
    async with looping(world) as loop:
        await world.await_runs(2)


async def test_it_runs_by_itself_now_and_then() -> None:
    world = World()
    async with looping(world, period=0.01):
        await world.await_runs(4)


async def test_a_failing_run_is_logged_and_tried_again_soon(caplog: pytest.LogCaptureFixture) -> None:
    async def fail_twice(run: int) -> None:
        if run <= 2:
            raise ValueError(f"broken {run}")

    world = World(fail_twice)
    with caplog.at_level(logging.ERROR):
        async with looping(world):
            await world.await_runs(3)

    assert [record.getMessage() for record in caplog.records] == [
        "world failed, run 1 in a row",
        "world failed, run 2 in a row",
    ]
    assert "broken 2" in caplog.text


async def test_a_nudge_ends_the_back_off_after_a_failure() -> None:
    async def fail_always(run: int) -> None:
        raise ValueError("broken")

    world = World(fail_always)
    async with looping(world) as loop:
        for run in range(1, 10):  # by itself the ninth run would come after a minute
            await world.await_runs(run)
            await settled()
            loop.nudge()
        await world.await_runs(10)


async def test_a_cancellation_ends_it_wherever_it_is() -> None:
    inside = asyncio.Event()

    async def hang(run: int) -> None:
        inside.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(ReconcileLoop("world", World(hang).bring_about, period=NEVER).run())
    await inside.wait()
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_cancellation_beside_a_nudge_is_not_lost() -> None:
    world = World()
    loop = ReconcileLoop("world", world.bring_about, period=NEVER)
    running = asyncio.create_task(loop.run())
    await world.await_runs(1)
    await settled()

    loop.nudge()
    await asyncio.sleep(0)
    running.cancel()

    await asyncio.wait([running], timeout=10)

    assert running.cancelled()
