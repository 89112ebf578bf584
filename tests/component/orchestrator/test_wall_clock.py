from __future__ import annotations

import asyncio
import time

import pytest

from forgemesh.orchestrator.schedules import wall_clock
from forgemesh.orchestrator.schedules.wall_clock import SystemWallClock
from tests.component.orchestrator.hosts import PATIENCE

MILLISECOND = 1_000_000


async def test_a_wait_ends_at_its_moment() -> None:
    clock = SystemWallClock()
    until = clock.now() + 5 * MILLISECOND
    await asyncio.wait_for(clock.wait(asyncio.Event(), until), PATIENCE)

    assert time.time_ns() >= until


async def test_a_wait_ends_when_something_happens() -> None:
    event = asyncio.Event()
    waits = [asyncio.ensure_future(SystemWallClock().wait(event, until)) for until in (None, 1 << 62)]
    event.set()

    await asyncio.wait_for(asyncio.gather(*waits), PATIENCE)


async def test_a_moment_that_has_passed_is_not_waited_for() -> None:
    await asyncio.wait_for(SystemWallClock().wait(asyncio.Event(), 1), PATIENCE)


async def test_a_jump_of_the_clock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer would run for an hour."""
    monkeypatch.setattr(wall_clock, "LONGEST_SLEEP", 0.001)
    clock = SystemWallClock()
    hour = 3600 * 1000 * MILLISECOND
    until = clock.now() + hour
    waiting = asyncio.ensure_future(clock.wait(asyncio.Event(), until))
    monkeypatch.setattr(clock, "now", lambda: until)

    await asyncio.wait_for(waiting, PATIENCE)
