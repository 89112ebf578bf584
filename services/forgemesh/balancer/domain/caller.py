"""What one caller has told of its calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from forgemesh.routing.outcome import CallCounts, CountKey
from forgemesh.routing.scaling import Demanded

InstanceKey: TypeAlias = tuple[str, int]
"""Instance id and incarnation."""


class Told(NamedTuple):
    """All of a caller's calls by one key so far, and how many calls it has under way on the instance."""

    key: CountKey
    counts: CallCounts
    in_flight: int


@dataclass(slots=True, eq=False)
class Caller:
    """
    One process that makes calls, named by what it calls itself and its start.

    Counts only grow, so what matters is the difference to what it told before: a report that comes twice, late or not
    at all does no harm. `heard_at` is the moment of its report `sequence`; `demands` counts its calls that wait, by
    plugin and versions, `waiting` by plugin alone; `active_at` is when it last made a call, by plugin; `lost_at` when
    it last let a permit run out. Moments are on the balancer's clock.
    """

    name: str
    boot: str
    heard_at: float
    sequence: int = 0
    left_at: float | None = None
    lost_at: float | None = None
    counts: dict[tuple[str, InstanceKey], tuple[int, CallCounts]] = field(default_factory=dict)
    """By plugin and place, those of the newest generation that it spoke of."""
    in_flight: dict[InstanceKey, int] = field(default_factory=dict)
    demands: Mapping[Demanded, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    active_at: dict[str, float] = field(default_factory=dict)
    declined_at: dict[str, float] = field(default_factory=dict)
    """By plugin, when it gave back a permit, if it has told nothing new since."""

    def begin(self, baseline: Iterable[Told]) -> None:
        """What it had counted before anybody here knew of it: differences begin there."""
        for told in baseline:
            self._difference(told)

    def take(
        self, sequence: int, updates: Iterable[Told], demands: Mapping[Demanded, int], now: float
    ) -> list[tuple[CountKey, CallCounts]]:
        """A report: what is new in it, of generations that it has not left behind. An old report holds nothing new."""
        if sequence <= self.sequence:
            return []
        self.sequence, self.heard_at = sequence, now
        before = self.waiting
        self.wait_for(demands)
        for plugin_id, count in self.waiting.items():
            if count > before.get(plugin_id, 0):
                self.declined_at.pop(plugin_id, None)
        found = []
        for told in updates:
            plugin_id = told.key.plugin_id
            difference = self._difference(told)
            if difference is None:
                continue
            if difference.started:
                self.active_at[plugin_id] = now
                self.declined_at.pop(plugin_id, None)
            found.append((told.key, difference))
        return found

    def wait_for(self, demands: Mapping[Demanded, int]) -> None:
        """Exactly these of its calls wait."""
        waiting: dict[str, int] = {}
        for one, count in demands.items():
            waiting[one.plugin_id] = waiting.get(one.plugin_id, 0) + count
        self.demands, self.waiting = demands, waiting

    def forget(self, instance_key: InstanceKey) -> None:
        """The instance is gone."""
        self.in_flight.pop(instance_key, None)
        for key in [key for key in self.counts if key[1] == instance_key]:
            del self.counts[key]

    def _difference(self, told: Told) -> CallCounts | None:
        key = told.key
        instance_key = (key.instance_id, key.incarnation)
        generation, known = self.counts.get((key.plugin_id, instance_key), (-1, CallCounts()))
        if key.generation < generation:
            return None
        self.counts[key.plugin_id, instance_key] = key.generation, told.counts
        return told.counts.since(known) if key.generation == generation else told.counts
