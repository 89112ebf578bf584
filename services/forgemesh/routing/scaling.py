"""How many instances a plugin should have, by the calls that run and wait: one rule, whoever starts the instances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from forgemesh.routing.pick import NoPickReason

DEFAULT_CAPACITY = 16
"""Calls that an instance runs at a time if its manifest does not say."""
PARTS = 1000
"""Calls are counted in thousandths, as Kubernetes does, so that both come to the same number."""
LONGEST_WINDOW = 3600
"""Seconds; Kubernetes takes no longer one."""
STEP = 15
"""Seconds between two looks of Kubernetes at a number of pods."""
_MOST_CALLS = 1e12
_NOT_MENDED_BY_MORE = (NoPickReason.CIRCUIT_OPEN, NoPickReason.CRASH_LOOP)


class Demanded(NamedTuple):
    """What calls wait for: instances of a plugin in a range of versions, empty for any."""

    plugin_id: str
    version_range: str


def counting(calls: int, no_pick: Enum) -> int:
    """
    How many of so many `calls` count that wait together for this `no_pick`.

    Behind open circuits, or after a crash loop, another instance of the same plugin is most likely as broken as those
    that there are: the calls count as one, which keeps an instance that can be tried.
    """
    return min(1, calls) if no_pick in _NOT_MENDED_BY_MORE else calls


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRule:
    """
    `target` is the share of its calls at a time that an instance should have, running and waiting ones together.

    There are `least` to `most` instances. As long as each has its share, give or take `tolerance`, nothing changes. A
    number is raised to the smallest that was right for `up_after` seconds, and lowered to the largest that was right
    for `down_after` seconds. Raises ValueError for what makes no sense.
    """

    least: int
    most: int
    target: float = 0.7
    tolerance: float = 0.1
    up_after: float = 0.0
    down_after: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most:
            raise ValueError(f"{self.least} to {self.most} instances: the bounds are 0 or more, and in order")
        if not 0 < self.target < math.inf:
            raise ValueError(f"a target of {self.target}: it is a share above 0")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"a tolerance of {self.tolerance}: it is a share from 0 and below 1")
        if not (0 <= self.up_after < math.inf and 0 <= self.down_after < math.inf):
            raise ValueError(f"{self.up_after} s up and {self.down_after} s down: times are 0 or more")

    def bound(self, count: float) -> int:
        """The number of instances within the bounds that comes nearest."""
        return max(self.least, math.ceil(min(count, self.most)))


def parts_of(calls: float) -> int:
    """Thousandths of a call; raises ValueError for what is no number of calls."""
    if not calls >= 0 or math.isinf(calls):
        raise ValueError(f"{calls} calls: it is a number from 0")
    return round(min(calls, _MOST_CALLS) * PARTS)


def share_of(target: float, capacity: float) -> int:
    """
    How many thousandths of a call an instance should have that runs `capacity` calls at a time, at least one.

    Raises ValueError for a capacity that is no number above 0.
    """
    if not 0 < capacity < math.inf:
        raise ValueError(f"a capacity of {capacity} calls: it is a number above 0")
    return max(1, parts_of(target * capacity))


def wish(rule: ScaleRule, demand: float, capacity: float) -> int:
    """How many instances are right for `demand` calls that run or wait, at this moment and whatever there is."""
    return rule.bound(-(-parts_of(demand) // share_of(rule.target, capacity)))


def _settled(rule: ScaleRule, current: int, demand: float, capacity: float) -> int:
    """The same, but `current` as long as its instances have their share, give or take the tolerance."""
    due = current * share_of(rule.target, capacity)
    if due and abs(parts_of(demand) / due - 1) <= rule.tolerance:
        return rule.bound(current)
    return wish(rule, demand, capacity)


@dataclass(frozen=True, slots=True)
class Scale:
    """What would have been right lately: (time, number), the oldest first, and since when that is looked at."""

    wishes: tuple[tuple[float, int], ...] = ()
    since: float | None = None

    def desired(
        self, rule: ScaleRule, current: int, demand: float | None, capacity: float, now: float
    ) -> tuple[Scale, int]:
        """
        The next value, and how many instances there should be in place of `current`.

        `demand` counts the calls that run and wait, `capacity` those that one instance runs at a time, `now` is in
        seconds. None for a demand that is not known: the number stays, and is not lowered soon after. Raises ValueError
        for numbers that make no sense.
        """
        if current < 0:
            raise ValueError(f"{current} instances: it is a number from 0")
        if demand is None:
            return self._holding(rule, current, now), rule.bound(current)
        following = self._with(rule, _settled(rule, current, demand, capacity), now)
        looked = now - (now if following.since is None else following.since)
        up = min(number for at, number in following.wishes if at >= now - rule.up_after)
        down = max(number for at, number in following.wishes if at >= now - rule.down_after)
        if up > current and looked >= rule.up_after:
            return following, up
        if down < current and current >= rule.least and looked >= rule.down_after:
            return following, down
        return following, rule.bound(current)

    def _holding(self, rule: ScaleRule, current: int, now: float) -> Scale:
        """What was right last goes on to be right, and what there is."""
        last = self.wishes[-1][1] if self.wishes else current
        return self._with(rule, rule.bound(max(last, current)), now)

    def _with(self, rule: ScaleRule, number: int, now: float) -> Scale:
        oldest = now - max(rule.up_after, rule.down_after)
        kept = tuple(one for one in self.wishes if one[0] >= oldest)
        return Scale((*kept, (now, number)), now if self.since is None else self.since)


def behavior_of(rule: ScaleRule) -> dict[str, Any]:
    """
    The rule's windows as the `behavior` of a HorizontalPodAutoscaler, which a ScaledObject of KEDA has too.

    Pods at most double with each look: what a cluster has to place and pull is asked for step by step. Kubernetes has
    one tolerance for all, of a tenth unless its operator says otherwise.
    """
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": _window(rule.up_after),
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": STEP}],
        },
        "scaleDown": {"stabilizationWindowSeconds": _window(rule.down_after)},
    }


def _window(seconds: float) -> int:
    return min(LONGEST_WINDOW, math.ceil(seconds))
