import asyncio
import time
from collections.abc import Iterator

import pytest

from forgemesh.orchestrator.simulation.virtual_loop import VirtualLoop

DAY = 86_400.0


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_a_hundred_years_pass_at_once(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(36_525 * DAY))

    assert loop.time() == 36_525 * DAY


def test_timers_ring_in_order_and_at_their_moments(loop: VirtualLoop) -> None:
    rung: list[tuple[str, float]] = []
    loop.call_later(2 * DAY, lambda: rung.append(("late", loop.time())))
    loop.call_later(0.5, lambda: rung.append(("soon", loop.time())))
    loop.call_later(DAY, lambda: rung.append(("never", loop.time()))).cancel()
    loop.run_until_complete(asyncio.sleep(3 * DAY))

    assert rung == [("soon", 0.5), ("late", 2 * DAY)]


def test_a_timer_that_is_set_again_at_once_does_not_hold_time_up(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3e9))
    moment = loop.nanoseconds + 3_000

    async def early() -> int:
        rounds = 0
        while loop.nanoseconds < moment:
            rung = loop.create_future()
            loop.call_later(0.0, rung.set_result, None)
            await rung
            rounds += 1
        return rounds

    assert loop.run_until_complete(early()) <= 4


def test_time_stands_still_while_an_executor_works(loop: VirtualLoop) -> None:
    rung: list[float] = []
    loop.call_later(1.0, lambda: rung.append(loop.time()))

    async def working() -> float:
        await asyncio.to_thread(time.sleep, 0.05)
        return loop.time()

    assert loop.run_until_complete(working()) == 0.0
    assert rung == []


def test_time_stands_still_while_it_is_held(loop: VirtualLoop) -> None:
    async def held() -> float:
        loop.hold()
        timer = loop.call_later(1.0, lambda: None)
        working = loop.create_future()
        loop.attend(working)
        loop.release()
        await asyncio.to_thread(loop.call_soon_threadsafe, working.set_result, None)
        await working
        timer.cancel()
        return loop.time()

    assert loop.run_until_complete(held()) == 0.0
    assert not loop.held


@pytest.mark.parametrize("seconds", [5.0, None])
def test_before_time_passes_somebody_may_find_something_to_do(loop: VirtualLoop, seconds: float | None) -> None:
    asked: list[float | None] = []
    done = loop.create_future()

    def at_rest(until: float | None) -> bool:
        asked.append(until)
        done.set_result(loop.time())
        return False

    if seconds is not None:
        loop.call_later(seconds, lambda: None)

    with loop.asking(at_rest):
        assert loop.run_until_complete(done) == 0.0
    assert asked == [seconds]


def test_time_passes_only_if_everybody_who_is_asked_agrees_and_nobody_takes_the_place_of_another(
    loop: VirtualLoop,
) -> None:
    asked: list[str] = []

    def quick(until: float | None) -> bool:
        asked.append("quick")
        return True

    def slow(until: float | None) -> bool:
        asked.append("slow")
        return asked.count("slow") > 2

    with loop.asking(slow), loop.asking(quick):
        loop.run_until_complete(asyncio.sleep(1.0))
    loop.run_until_complete(asyncio.sleep(1.0))

    assert asked == ["slow", "slow", "slow", "quick"]
    assert loop.time() == 2.0
