"""Unix time that runs evenly, whatever is done to the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

_elapsed: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
)
"""Nanoseconds since some moment; the time for which the machine sleeps counts, where its system can tell."""


class SteadyClock:
    """
    The wall clock as it stood when this was made, and what has passed since.

    So a duration between two of its moments is one, and no moment comes before an earlier one; a wall clock that is put
    right in between does not show. Another process, and the next one, may begin elsewhere.
    """

    __slots__ = ("_began", "_elapsed", "_wall")

    def __init__(self, wall: Callable[[], int] = time.time_ns, elapsed: Callable[[], int] = _elapsed) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._began = wall() - elapsed()

    def now(self) -> int:
        """Unix nanoseconds."""
        return self._began + self._elapsed()

    def seconds(self) -> float:
        """Unix seconds."""
        return self.now() / 1e9

    def wall_ahead(self) -> int:
        """Nanoseconds by which the wall clock has been put forward since this was made; back if it is negative."""
        return self._wall() - self.now()
