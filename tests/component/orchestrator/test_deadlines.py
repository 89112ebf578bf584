import asyncio

from forgemesh.orchestrator.dispatch.deadlines import TICKS, Deadlines
from tests.component.orchestrator.hosts import PATIENCE


class Bell:
    """Keeps what rang, and when."""

    def __init__(self) -> None:
        self.rung: list[object] = []
        self.moments: list[float] = []
        self._moved = asyncio.Event()

    def ring(self, about: object) -> None:
        self.rung.append(about)
        self.moments.append(asyncio.get_running_loop().time())
        self._moved.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.rung) < count:
                self._moved.clear()
                await self._moved.wait()


async def test_alarms_ring_in_order_of_time_and_never_early() -> None:
    deadlines, bell, began = Deadlines(), Bell(), asyncio.get_running_loop().time()
    seconds = [0.12, 0.06, 0.0, 0.06, 0.09]
    for after in seconds:
        deadlines.set(after, bell.ring, after)

    await bell.until(len(seconds))

    assert bell.rung == sorted(seconds)
    assert all(at - began > after - 0.002 for at, after in zip(bell.moments, sorted(seconds), strict=True))


async def test_an_alarm_that_is_called_off_does_not_ring_even_if_another_of_its_tick_does_it() -> None:
    deadlines, bell = Deadlines(), Bell()
    alarms = [deadlines.set(0.02, bell.ring, "never")]
    deadlines.call_off(alarms[0])

    def first(about: object) -> None:
        deadlines.call_off(alarms[1])
        bell.ring(about)

    deadlines.set(0.05, first, "first")
    alarms.append(deadlines.set(0.05, bell.ring, "second"))
    deadlines.set(0.1, bell.ring, "last")
    await bell.until(2)

    assert bell.rung == ["first", "last"]
    deadlines.call_off(alarms[1])


async def test_an_alarm_may_set_the_next_one() -> None:
    deadlines, bell = Deadlines(), Bell()

    def again(left: object) -> None:
        assert isinstance(left, int)
        bell.ring(left)
        if left:
            deadlines.set(0.0, again, left - 1)

    deadlines.set(0.0, again, 3)
    await bell.until(4)

    assert bell.rung == [3, 2, 1, 0]


async def test_alarms_that_are_called_off_leave_nothing_behind_but_their_tick() -> None:
    deadlines, bell = Deadlines(), Bell()
    for number in range(10_000):
        deadlines.call_off(deadlines.set(60.0, bell.ring, number))

    assert sum(map(len, deadlines._buckets.values())) == 0
    assert len(deadlines._buckets) < 10 * TICKS
