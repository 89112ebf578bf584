from __future__ import annotations

import asyncio
import contextlib

import pytest

from forgemesh.balancer.application.events.events import Events, Told, Watched
from forgemesh.balancer.domain.event_log import Position
from forgemesh.balancer.domain.events import EjectionChange, Event, PolicyChange
from forgemesh.faults.routing import BalancerWarming, EventsCompacted
from forgemesh.faults.service import ShuttingDown
from tests.manual_clock import ManualClock

DEADLINE = 180.0
EPOCH = 3
EVERYTHING = Watched()


def events_of(clock: ManualClock, *, kept: int = 10) -> Events:
    events = Events(clock.wall, clock.monotonic, heartbeat=1.0, kept=kept)
    events.begin(EPOCH)
    return events


def happen(events: Events, *numbers: int, plugin_id: str = "weather.stats", instance_id: str = "") -> None:
    for number in numbers:
        events.publish(PolicyChange(number), plugin_id=plugin_id, instance_id=instance_id)


async def history(events: Events, watched: Watched = EVERYTHING, after: Position | None = None) -> list[Told]:
    whole = Watched(watched.plugin_id, watched.instance_id, history_only=True)
    return [told async for told in events.watch(after, whole)]


def versions(told: list[Told]) -> list[int]:
    changes = [one.entry.event.change for one in told if one.entry is not None]
    return [change.version for change in changes if isinstance(change, PolicyChange)]


async def test_history_is_told_in_order_with_its_moments_and_ends() -> None:
    clock = ManualClock()
    events = events_of(clock)
    happen(events, 1)
    clock.advance(5)
    happen(events, 2)

    told = await history(events)

    assert versions(told) == [1, 2]
    assert [one.entry and one.entry.at for one in told] == [clock.wall() - 5, clock.wall(), None]
    assert told[-1].position == Position(EPOCH, 2)


async def test_a_watch_goes_on_behind_a_position() -> None:
    events = events_of(ManualClock())
    happen(events, 1, 2, 3)

    assert versions(await history(events, after=Position(EPOCH, 1))) == [2, 3]
    assert versions(await history(events, after=Position(EPOCH, 3))) == []


async def test_only_the_newest_are_kept() -> None:
    events = events_of(ManualClock(), kept=3)
    happen(events, *range(1, 6))

    assert versions(await history(events)) == [3, 4, 5]
    assert versions(await history(events, after=Position(EPOCH, 2))) == [3, 4, 5]


@pytest.mark.parametrize("position", [Position(EPOCH, 1), Position(EPOCH, 6), Position(EPOCH - 1, 4), Position(0, 0)])
async def test_a_position_that_is_forgotten_or_of_another_epoch_is_refused(position: Position) -> None:
    events = events_of(ManualClock(), kept=3)
    happen(events, *range(1, 6))

    with pytest.raises(EventsCompacted):
        await history(events, after=position)


async def test_history_longer_than_a_chunk_comes_whole() -> None:
    events = events_of(ManualClock(), kept=1000)
    happen(events, *range(1000))

    assert versions(await history(events)) == list(range(1000))


async def test_a_watch_holds_to_its_plugin_and_its_instance_and_hears_what_concerns_all_instances() -> None:
    events = events_of(ManualClock())
    happen(events, 1, plugin_id="weather.report", instance_id="r-1")
    happen(events, 2, instance_id="s-1")
    happen(events, 3, instance_id="s-2")
    happen(events, 4)

    assert versions(await history(events, Watched("weather.stats"))) == [2, 3, 4]
    assert versions(await history(events, Watched("weather.stats", "s-2"))) == [3, 4]
    assert versions(await history(events, Watched(instance_id="r-1"))) == [1, 4]


async def test_a_watch_says_when_it_has_told_everything_and_then_every_heartbeat_that_it_is_alive() -> None:
    clock = ManualClock()
    events = events_of(clock)
    happen(events, 1)
    async with contextlib.aclosing(events.watch(None, EVERYTHING)) as watch, asyncio.timeout(DEADLINE):
        first = [await anext(watch), await anext(watch)]
        waiting = asyncio.ensure_future(anext(watch))
        happen(events, 2)
        second = await waiting
        clock.advance(1)
        third = await anext(watch)

    assert versions([*first, second]) == [1, 2]
    assert [told.entry is None for told in (*first, second, third)] == [False, True, False, True]
    assert third.position == Position(EPOCH, 2)


async def test_events_of_others_do_not_keep_a_watch_from_saying_that_it_is_alive() -> None:
    clock = ManualClock()
    events = events_of(clock)
    async with contextlib.aclosing(events.watch(None, Watched("weather.report"))) as watch, asyncio.timeout(DEADLINE):
        await anext(watch)
        happen(events, 1)
        clock.advance(1)
        told = await anext(watch)

    assert told == Told(Position(EPOCH, 1), None)


async def test_a_slow_watcher_delays_nobody_and_is_told_that_it_missed_something() -> None:
    events = events_of(ManualClock(), kept=3)
    happen(events, 1)
    async with contextlib.aclosing(events.watch(None, EVERYTHING)) as slow:
        for _ in range(2):
            await anext(slow)
        happen(events, *range(2, 8))
        quick = await history(events)
        with pytest.raises(EventsCompacted):
            await anext(slow)

    assert versions(quick) == [5, 6, 7]


async def test_a_watch_ends_with_the_balancer() -> None:
    events = events_of(ManualClock())
    async with contextlib.aclosing(events.watch(None, EVERYTHING)) as watch, asyncio.timeout(DEADLINE):
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        events.close()
        with pytest.raises(ShuttingDown):
            await waiting


async def test_there_is_no_watch_before_the_epoch_is_known() -> None:
    clock = ManualClock()

    with pytest.raises(BalancerWarming):
        await history(Events(clock.wall, clock.monotonic, heartbeat=1.0))


async def test_an_event_names_its_instance_and_its_author() -> None:
    events = events_of(ManualClock())
    events.publish(EjectionChange(ejected=True), plugin_id="weather.stats", instance_id="s-1", incarnation=4)

    (told, _) = await history(events)

    assert told.entry is not None
    assert told.entry.event == Event(
        plugin_id="weather.stats", instance_id="s-1", incarnation=4, change=EjectionChange(ejected=True)
    )
