"""What became of this process's calls, and which part of that the balancer has not heard yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import NamedTuple, TypeAlias

from forgemesh.routing.outcome import CallCounter, CallCounts, CountKey

Current: TypeAlias = Mapping[str, tuple[int, int]]
"""Incarnation and circuit generation of each instance of a plugin."""


class Counted(NamedTuple):
    """All calls by one key; `in_flight` are those under way now on the instance, of all generations."""

    key: CountKey
    counts: CallCounts
    in_flight: int


class InstanceCounter:
    """
    The calls by one key; `touched` is the first report that can tell of the newest change, `lost_at` when a call was
    lost with its connection.
    """

    __slots__ = ("key", "lost_at", "tally", "touched")

    def __init__(self, key: CountKey) -> None:
        self.key = key
        self.tally = CallCounter()
        self.touched = 0
        self.lost_at = -inf

    @property
    def in_flight(self) -> int:
        tally = self.tally
        return tally.started - tally.succeeded - tally.failed - tally.overloaded - tally.ignored


class OutcomeCounters:
    """
    Cumulative counts by (plugin, instance, incarnation, circuit generation).

    Reports are numbered from 1. Each holds whatever has changed since the last one that was acknowledged, so one that
    is lost is made up for by the next. What is over, told and acknowledged is forgotten.
    """

    __slots__ = ("_counters", "_current", "acknowledged", "changed", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.acknowledged = 0
        self.changed = False
        self._counters: dict[CountKey, InstanceCounter] = {}
        self._current: dict[str, Current] = {}

    def counter(self, key: CountKey) -> InstanceCounter:
        """Where calls by this key are counted."""
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = InstanceCounter(key)
        return counter

    def touch(self, counter: InstanceCounter) -> None:
        """The counter has changed."""
        counter.touched = self.sequence + 1
        self.changed = True

    def current(self, plugin_id: str, current: Current) -> None:
        """From now on only these are current of the plugin's instances."""
        self._current[plugin_id] = current

    def next(self) -> list[Counted]:
        """The next report: its number is `sequence` from now on."""
        self.sequence += 1
        self.changed = False
        return self._counted(counter for counter in self._counters.values() if counter.touched > self.acknowledged)

    def baseline(self) -> list[Counted]:
        """Everything that is known."""
        return self._counted(self._counters.values())

    def acknowledge(self, sequence: int) -> list[CountKey]:
        """The balancer has had this report; the keys that are forgotten now."""
        self.acknowledged = max(self.acknowledged, min(sequence, self.sequence))
        over = [key for key, counter in self._counters.items() if self._is_over(counter)]
        for key in over:
            del self._counters[key]
        return over

    def _is_over(self, counter: InstanceCounter) -> bool:
        if counter.touched > self.acknowledged or counter.in_flight:
            return False
        key, current = counter.key, self._current.get(counter.key.plugin_id)
        return current is not None and current.get(key.instance_id) != (key.incarnation, key.generation)

    def _counted(self, counters: Iterable[InstanceCounter]) -> list[Counted]:
        under_way: dict[tuple[str, str, int], int] = {}
        for counter in self._counters.values():
            under_way[counter.key[:3]] = under_way.get(counter.key[:3], 0) + counter.in_flight
        return [Counted(counter.key, counter.tally.counts(), under_way[counter.key[:3]]) for counter in counters]
