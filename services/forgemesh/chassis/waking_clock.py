"""Time by which the silence of others is measured: it stands still while this process does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType

BEAT = 0.25
"""Seconds between two looks at whether the loop turns, and for which the clock stands after it did not."""
LATE = 0.5
"""Seconds without a look after which the loop has stood still."""


class WakingClock:
    """
    Seconds that passed while the event loop turned; it never goes back.

    A loop that is blocked, and a process that is stopped or gets no processor, hears nobody. The time for which that
    lasts is not the silence of others, so it does not count; nor does the moment afterwards, in which what others have
    said meanwhile is heard first. Nothing is timed by this clock but what others owe within a time: leases, heartbeats,
    reports.

    `elapsed` counts seconds and does not go back.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._turned = self._shown = elapsed()
        self._lost = 0.0
        self.stalls = 0

    def now(self) -> float:
        """Seconds since some moment."""
        elapsed = self._elapsed()
        if elapsed - self._turned <= LATE:
            self._shown = max(self._shown, elapsed - self._lost)
        return self._shown

    def has_stood_since(self, stalls: int) -> bool:
        """Whether the loop has stood still since `stalls` was that of this clock."""
        return self.stalls != stalls or self._elapsed() - self._turned > LATE

    def turn(self) -> None:
        """The loop turns; a clock that is made by `waking_clock` is told by itself."""
        elapsed = self._elapsed()
        if elapsed - self._turned > LATE:
            self.stalls += 1
            self._lost = elapsed + BEAT - self._shown
        self._turned = elapsed
        self.now()


@contextlib.asynccontextmanager
async def waking_clock() -> AsyncIterator[WakingClock]:
    """A clock over that of the event loop, which goes until the block ends."""
    with _going() as clock:
        yield clock


class Patience:
    """See `patience`. It is no generator: of a task that is thrown away that may be collected before the task is."""

    def __init__(self, seconds: float, clock: WakingClock | None) -> None:
        self._seconds = seconds
        self._clock = clock
        self._limit = asyncio.timeout(None)
        self._around = contextlib.ExitStack()

    async def __aenter__(self) -> None:
        clock = self._around.enter_context(_going()) if self._clock is None else self._clock
        await self._limit.__aenter__()
        end = clock.now() + self._seconds

        def look() -> float | None:
            left = end - clock.now()
            if left > 0:
                return left
            self._limit.reschedule(asyncio.get_running_loop().time())
            return None

        self._around.enter_context(_again_and_again(look, self._seconds))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._around.close()
        await self._limit.__aexit__(kind, error, trace)


def patience(seconds: float, clock: WakingClock | None = None) -> Patience:
    """As asyncio.timeout, for what others owe within `seconds` of a waking clock; without one it has its own."""
    return Patience(seconds, clock)


@contextlib.contextmanager
def _going() -> Iterator[WakingClock]:
    clock = WakingClock(asyncio.get_running_loop().time)

    def turn() -> float:
        clock.turn()
        return BEAT

    with _again_and_again(turn, BEAT):
        yield clock


@contextlib.contextmanager
def _again_and_again(act: Callable[[], float | None], after: float) -> Iterator[None]:
    """Call `act` after so many seconds, and again after as many as it says, until it says None or the block ends."""
    loop = asyncio.get_running_loop()

    def ring() -> None:
        pause = act()
        if pause is not None:
            handles[0] = loop.call_later(pause, ring)

    handles = [loop.call_later(after, ring)]
    try:
        yield
    finally:
        handles[0].cancel()
