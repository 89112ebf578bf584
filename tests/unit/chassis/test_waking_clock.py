import asyncio
import itertools
import time

import pytest
from hypothesis import given, strategies as st

from forgemesh.chassis.waking_clock import BEAT, LATE, WakingClock, patience, waking_clock


class Elapsed:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A clock, and a loop that turns or stands still."""

    def __init__(self) -> None:
        self.elapsed = Elapsed()
        self.clock = WakingClock(self.elapsed)
        self.began = self.clock.now()

    def turning(self, seconds: float) -> None:
        for _ in range(round(seconds / BEAT)):
            self.elapsed.now += BEAT
            self.clock.turn()

    def standing(self, seconds: float) -> None:
        self.elapsed.now += seconds

    @property
    def shown(self) -> float:
        return self.clock.now() - self.began


def test_as_long_as_the_loop_turns_it_shows_what_has_passed() -> None:
    scene = Scene()

    scene.turning(60.0)
    scene.elapsed.now += 0.125

    assert scene.shown == 60.125
    assert scene.clock.stalls == 0


def test_it_stands_still_while_the_loop_does_and_until_what_came_meanwhile_could_be_heard() -> None:
    scene = Scene()
    scene.turning(10.0)

    scene.standing(100.0)
    assert scene.shown == 10.0
    scene.clock.turn()
    assert scene.shown == 10.0
    scene.elapsed.now += BEAT
    assert scene.shown == 10.0
    scene.clock.turn()
    scene.turning(5.0)

    assert scene.shown == pytest.approx(15.0)
    assert scene.clock.stalls == 1


def test_a_stall_is_known_before_the_loop_has_looked() -> None:
    scene = Scene()
    before = scene.clock.stalls
    assert not scene.clock.has_stood_since(before)

    scene.standing(LATE + 0.125)
    assert scene.clock.has_stood_since(before)
    scene.clock.turn()

    assert scene.clock.has_stood_since(before)
    assert not scene.clock.has_stood_since(scene.clock.stalls)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans(), st.booleans()), max_size=50))
def test_it_never_goes_back_and_never_faster_than_time(steps: list[tuple[float, bool, bool]]) -> None:
    scene = Scene()
    seen = [(scene.elapsed.now, scene.clock.now())]
    for seconds, turns, looks in steps:
        scene.standing(seconds)
        if turns:
            scene.clock.turn()
        if looks:
            seen.append((scene.elapsed.now, scene.clock.now()))

    for (_, shown), (_, shows) in itertools.pairwise(seen):
        assert shown <= shows
    assert seen[-1][1] - seen[0][1] <= seen[-1][0] - seen[0][0] + 1e-6


def block(seconds: float) -> None:
    """Nothing turns in this process meanwhile."""
    time.sleep(seconds)


async def test_what_came_while_this_process_stood_still_came_in_time() -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    async with waking_clock() as clock:
        loop.call_soon(block, 1.5)
        loop.call_later(1.0, came.set)

        async with patience(0.5, clock):
            await came.wait()

        assert clock.stalls == 1


async def test_without_a_clock_of_the_process_patience_has_its_own() -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.call_later(0.0, block, 1.5)
    loop.call_later(1.0, came.set)

    async with patience(0.5):
        await came.wait()


async def test_who_says_nothing_at_all_is_silent() -> None:
    with pytest.raises(TimeoutError):
        async with patience(0.05):
            await asyncio.Event().wait()


async def test_what_ends_by_itself_is_not_disturbed_afterwards() -> None:
    async with waking_clock() as clock:
        async with patience(0.0, clock):
            pass
        with pytest.raises(ValueError, match="its own"):
            async with patience(60.0, clock):
                raise ValueError("its own")

        await asyncio.sleep(0)
