"""What no fact says: the time, and chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _never() -> int:
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAndChance:
    """
    `now` gives Unix nanoseconds that run evenly, `wall_ahead` by how many the wall clock is ahead of it, `draw` random
    numbers in [0, 1).
    """

    now: Callable[[], int]
    draw: Callable[[], float]
    wall_ahead: Callable[[], int] = _never
