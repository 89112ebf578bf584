"""How busy the hosts of a plugin are, as far as they say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """
    What a host says of itself: calls that run or wait by calls that may run, None if what it said is no such number;
    and whether calls run, wait or have ended lately.
    """

    utilization: float | None
    busy: bool


def demand_of(said: Sequence[float], silent: int, share: float) -> float:
    """
    The calls of hosts that say how many they have and of `silent` others, which are on their way.

    These count as idle where more hosts seem to be needed, and as having the `share` of calls that each should have
    where fewer do: neither is done for a number that they may prove wrong.
    """
    known, ordinary = sum(said), share * (len(said) + silent)
    return max(known, min(known + silent * share, ordinary))


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
