"""Compares the instances of a plugin with one another, and leaves out for a while who does much worse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from forgemesh.balancer.domain.fleet import Fleet
from forgemesh.chassis.containment import contained
from forgemesh.routing.outcome import CallCounts, CountKey
from forgemesh.routing.outlier import Ejections, Identity, IntervalCalls, OutlierRule


@dataclass(slots=True, eq=False)
class _Comparison:
    """Of one plugin's instances since the last sweep."""

    sweep_at: float
    calls: dict[Identity, IntervalCalls] = field(default_factory=dict)
    ejections: Ejections = field(default_factory=Ejections)


class Outliers:
    """
    Sweeps plugins whose policy has a rule for outliers; `fleet` is what is known now, `clock` monotonic. `on_out` is
    told after each sweep which instances of a plugin are out, by id, and why.
    """

    def __init__(self, fleet: Callable[[], Fleet], clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._plugins: dict[str, _Comparison] = {}
        self._ruled = asyncio.Event()
        self.on_out: Callable[[str, Mapping[str, str]], None] = lambda plugin_id, out: None

    def record(self, key: CountKey, counts: CallCounts) -> None:
        """What is new in a caller's counts."""
        comparison = self._plugins.get(key.plugin_id)
        if comparison is not None:
            identity = Identity(key.instance_id, key.incarnation)
            known = comparison.calls.get(identity, IntervalCalls())
            comparison.calls[identity] = IntervalCalls(known.succeeded + counts.succeeded, known.failed + counts.failed)

    def ruled(self) -> None:
        """Policies have changed; without a rule nobody is out."""
        now = self._clock()
        rules = self._rules()
        for plugin_id in self._plugins.keys() - rules.keys():
            del self._plugins[plugin_id]
            self.on_out(plugin_id, {})
        for plugin_id in rules.keys() - self._plugins.keys():
            self._plugins[plugin_id] = _Comparison(now + rules[plugin_id].interval)
        self._ruled.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._ruled.clear()
            due = self._sweep()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._ruled.wait()

    def _rules(self) -> dict[str, OutlierRule]:
        policies = self._fleet().policies.items()
        return {plugin_id: policy.outliers for plugin_id, policy in policies if policy.outliers is not None}

    def _sweep(self) -> float | None:
        """What is due; returns when the next sweep is."""
        now = self._clock()
        for plugin_id, rule in self._rules().items():
            comparison = self._plugins[plugin_id]
            if now >= comparison.sweep_at:
                comparison.sweep_at = now + rule.interval
                with contained(f"the comparison of the instances of {plugin_id}"):
                    self._compare(plugin_id, rule, comparison, now)
        return min((comparison.sweep_at for comparison in self._plugins.values()), default=None)

    def _compare(self, plugin_id: str, rule: OutlierRule, comparison: _Comparison, now: float) -> None:
        members = [one.member for one in self._fleet().standings.values() if one.member.plugin_id == plugin_id]
        calls, comparison.calls = comparison.calls, {}
        tallies = {
            identity: calls.get(identity, IntervalCalls())
            for identity in (Identity(member.instance_id, member.incarnation) for member in members)
        }
        comparison.ejections = comparison.ejections.sweep(rule, tallies, now)
        self.on_out(plugin_id, {one.instance_id: _reason(one, tallies) for one in comparison.ejections.out})


def _reason(identity: Identity, tallies: Mapping[Identity, IntervalCalls]) -> str:
    own = tallies[identity]
    others = [tally for one, tally in tallies.items() if one != identity]
    failed, calls = sum(one.failed for one in others), sum(one.calls for one in others)
    return f"{own.failed} of {own.calls} calls failed, of its siblings' {failed} of {calls}"
