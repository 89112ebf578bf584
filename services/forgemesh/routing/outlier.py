"""Which instances do so much worse than their siblings that they are left out for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from statistics import fmean, pstdev
from typing import NamedTuple, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierRule:
    """
    When to eject (gRFC A50, Envoy's outlier detection); times in seconds, shares from 0 to 1, a rule of 0 is off.

    Every `interval` instances with `minimum_calls` in it are compared, if there are `minimum_instances` of them. Out is
    whose success rate is below mean - `success_rate_factor` * standard deviation, and whose share of failures is
    `failure_share` or more; for `base_ejection` times the number of ejections in a row, at most `max_ejection`. No more
    are out at a time than `max_ejected` of all, but one always may be.
    """

    interval: float = 10.0
    base_ejection: float = 30.0
    max_ejection: float = 300.0
    max_ejected: float = 0.5
    success_rate_factor: float = 1.9
    failure_share: float = 0.85
    minimum_instances: int = 3
    minimum_calls: int = 20


class Identity(NamedTuple):
    """One incarnation of an instance."""

    instance_id: str
    incarnation: int


class IntervalCalls(NamedTuple):
    """The calls of one interval that say something about their instance."""

    succeeded: int = 0
    failed: int = 0

    @property
    def calls(self) -> int:
        return self.succeeded + self.failed

    @property
    def success_rate(self) -> float:
        """From 0 to 1; not defined without calls."""
        return self.succeeded / self.calls

    @property
    def failure_share(self) -> float:
        """From 0 to 1; not defined without calls."""
        return self.failed / self.calls


@dataclass(frozen=True, slots=True)
class Ejection:
    """How often in a row an instance was ejected, each interval without it taken off; `until` when it is out now."""

    times: int
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Ejections:
    """
    Who is out, and who was lately: a value that each interval's sweep gives anew.

    Panic is not its matter: it says who does badly, and the picker disregards it if too few are left.
    """

    known: Mapping[Identity, Ejection] = field(default_factory=dict)

    @property
    def out(self) -> frozenset[Identity]:
        """Those that are ejected."""
        return frozenset(identity for identity, ejection in self.known.items() if ejection.until is not None)

    def sweep(self, rule: OutlierRule, tallies: Mapping[Identity, IntervalCalls], now: float) -> Self:
        """
        What follows from one interval; `tallies` names every instance, those without calls too.

        Who is not named is forgotten, so a new incarnation begins without a past. The worst are ejected first.
        """
        known = {identity: ejection for identity, ejection in self.known.items() if identity in tallies}
        out = {identity for identity, ejection in known.items() if ejection.until is not None}
        for identity in _outliers(rule, {one: tally for one, tally in tallies.items() if one not in out}):
            if out and (len(out) + 1) / len(tallies) > rule.max_ejected:
                break
            times = known[identity].times + 1 if identity in known else 1
            known[identity] = Ejection(times, now + _duration(rule, times))
            out.add(identity)
        return replace(self, known=dict(_aged(known, now)))


def _outliers(rule: OutlierRule, tallies: Mapping[Identity, IntervalCalls]) -> list[Identity]:
    """Those that are to be ejected, the worst first."""
    seen = {identity: tally for identity, tally in tallies.items() if tally.calls >= max(1, rule.minimum_calls)}
    if not seen or len(seen) < rule.minimum_instances:
        return []
    rates = [tally.success_rate for tally in seen.values()]
    lowest = fmean(rates) - rule.success_rate_factor * pstdev(rates) if rule.success_rate_factor > 0 else -inf
    most_failures = rule.failure_share if rule.failure_share > 0 else inf
    return sorted(
        (one for one, tally in seen.items() if tally.success_rate < lowest or tally.failure_share >= most_failures),
        key=lambda one: (seen[one].success_rate, one),
    )


def _duration(rule: OutlierRule, times: int) -> float:
    return min(rule.base_ejection * times, max(rule.base_ejection, rule.max_ejection))


def _aged(known: Mapping[Identity, Ejection], now: float) -> Iterator[tuple[Identity, Ejection]]:
    """Who has served its time is in again; who was in for the interval has one ejection less on its record."""
    for identity, ejection in known.items():
        if ejection.until is not None:
            yield identity, ejection if now < ejection.until else replace(ejection, until=None)
        elif ejection.times > 1:
            yield identity, replace(ejection, times=ejection.times - 1)
