"""How many instances a plugin should have, from how busy those are that it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

_LARGEST = 1e300
"""A ratio beyond which numbers end; no instance at all times this is still none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRule:
    """
    `target` is the utilisation (calls that run by calls that may run) that instances should have.

    Within `tolerance` of it nothing changes. A number is raised to the smallest that was right for `up_after` seconds,
    and lowered to the largest that was right for `down_after` seconds.
    """

    least: int
    most: int
    target: float = 0.7
    tolerance: float = 0.1
    up_after: float = 0.0
    down_after: float = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """
    What a host says of itself: calls that run or wait by calls that may run, None if what it said is no such number;
    and whether calls run, wait or have ended lately.
    """

    utilization: float | None
    busy: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """What would have been right lately: (time, number), the oldest first, and since when that is looked at."""

    wishes: tuple[tuple[float, int], ...] = ()
    since: float | None = None

    def desired(self, rule: ScaleRule, current: int, utilization: float, now: float) -> tuple[Scale, int]:
        """The next value, and how many instances there should be; `utilization` is the mean over the `current` ones."""
        ratio = min(utilization / rule.target, _LARGEST)
        exact = float(current) if abs(ratio - 1) <= rule.tolerance else current * ratio - 1e-9
        wish = max(rule.least, math.ceil(min(exact, rule.most)))
        oldest = now - max(rule.up_after, rule.down_after)
        wishes = (*(one for one in self.wishes if one[0] >= oldest), (now, wish))
        since = now if self.since is None else self.since
        following = replace(self, wishes=wishes, since=since)
        up = min(number for at, number in wishes if at >= now - rule.up_after)
        down = max(number for at, number in wishes if at >= now - rule.down_after)
        if up > current and now - since >= rule.up_after:
            return following, up
        if down < current and current >= rule.least and now - since >= rule.down_after:
            return following, down
        return following, min(rule.most, max(rule.least, current))


def mean_of(said: Sequence[float], silent: int, target: float) -> float:
    """
    The mean utilisation of those that say something and of `silent` others, which are on their way.

    These count as idle where more seem to be needed, and as busy as they should be where fewer do: neither is done for
    a number that they may prove wrong.
    """
    count = len(said) + silent
    most = (sum(said) + silent * target) / count
    return sum(said) / count if sum(said) / count > target else min(most, target)


@dataclass(frozen=True, slots=True)
class Idleness:
    """Since when nothing was asked of a plugin."""

    since: float

    def seen(self, *, busy: bool, now: float) -> Idleness:
        """After a look at `now`."""
        return Idleness(now) if busy else self

    def over(self, after: float, now: float) -> bool:
        """Whether it has been idle for `after` seconds."""
        return now - self.since >= after
