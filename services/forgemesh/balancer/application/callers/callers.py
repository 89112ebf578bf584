"""All callers that report, and what they do to each instance together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from forgemesh.balancer.domain.caller import Caller, InstanceKey, Told
from forgemesh.routing.outcome import CallCounts, CountKey
from forgemesh.routing.scaling import Demanded

PATIENCE = 2.0
"""Seconds after which the calls of a caller that has left no longer count as under way."""
MEMORY = 60.0
"""Seconds for which a caller that has left may come back and go on counting where it stopped."""


class Callers:
    """
    Takes in what callers say of instances that there are. `clock` is monotonic; `on_load` is told each place where the
    number of calls under way has changed, `on_demand` each plugin for which another number waits, `on_counts` each
    difference, `on_lost` each caller that does not come back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._callers: dict[tuple[str, str], Caller] = {}
        self._in_flight: Counter[InstanceKey] = Counter()
        self._places: frozenset[InstanceKey] = frozenset()
        self.on_load: Callable[[InstanceKey], None] = lambda instance_key: None
        self.on_demand: Callable[[str], None] = lambda plugin_id: None
        self.on_counts: Callable[[CountKey, CallCounts], None] = lambda key, counts: None
        self.on_lost: Callable[[Caller], None] = lambda caller: None

    @property
    def present(self) -> list[Caller]:
        """Those that have not left."""
        return [caller for caller in self._callers.values() if caller.left_at is None]

    def in_flight(self, instance_key: InstanceKey) -> int:
        """Calls under way on the instance, of all callers."""
        return self._in_flight[instance_key]

    def arrived(self, name: str, boot: str, baseline: Iterable[Told]) -> Caller:
        """
        A caller introduces itself; one that was here before goes on where it stopped.

        What it has under way it may tell now and not again before that changes.
        """
        caller, known = self._callers.get((name, boot)), self._known(baseline)
        if caller is None:
            caller = self._callers[name, boot] = Caller(name, boot, self._clock())
            caller.begin(known)
        caller.left_at = None
        for one in known:
            self._set_in_flight(caller, (one.key.instance_id, one.key.incarnation), one.in_flight)
        return caller

    def left(self, caller: Caller) -> None:
        """A caller hears no more."""
        caller.left_at = self._clock()
        self._wait_for(caller, {})

    def reported(self, caller: Caller, sequence: int, told: Sequence[Told], demands: Mapping[Demanded, int]) -> None:
        """A caller says what it has seen."""
        if sequence <= caller.sequence:
            return
        known, before = self._known(told), caller.waiting
        differences = caller.take(sequence, known, demands, self._clock())
        self._tell_demand(before, caller.waiting)
        for one in known:
            self._set_in_flight(caller, (one.key.instance_id, one.key.incarnation), one.in_flight)
        for key, counts in differences:
            self.on_counts(key, counts)

    def moved(self, caller: Caller, instance_key: InstanceKey, by: int) -> None:
        """A caller that lives here has `by` more calls under way."""
        self._set_in_flight(caller, instance_key, max(0, caller.in_flight.get(instance_key, 0) + by))

    def keep(self, instance_keys: Iterable[InstanceKey]) -> None:
        """These are the instances that there are."""
        before, self._places = self._places, frozenset(instance_keys)
        for instance_key in before - self._places:
            self._in_flight.pop(instance_key, None)
            for caller in self._callers.values():
                caller.forget(instance_key)

    def sweep(self) -> None:
        """What callers that have left leave behind ends after a while."""
        now = self._clock()
        for key, caller in list(self._callers.items()):
            if caller.left_at is None:
                continue
            if now >= caller.left_at + PATIENCE:
                self.on_lost(caller)
                for instance_key in list(caller.in_flight):
                    self._set_in_flight(caller, instance_key, 0)
            if now >= caller.left_at + MEMORY:
                del self._callers[key]

    def waiting(self, plugin_id: str, wants: Callable[[str], bool]) -> int:
        """Calls that wait for a plugin, of all callers, in the ranges of versions for which `wants` holds."""
        return sum(
            count
            for caller in self._callers.values()
            if plugin_id in caller.waiting
            for one, count in caller.demands.items()
            if one.plugin_id == plugin_id and wants(one.version_range)
        )

    def _wait_for(self, caller: Caller, demands: Mapping[Demanded, int]) -> None:
        before = caller.waiting
        caller.wait_for(demands)
        self._tell_demand(before, caller.waiting)

    def _tell_demand(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        for plugin_id in before.keys() | after.keys():
            if before.get(plugin_id) != after.get(plugin_id):
                self.on_demand(plugin_id)

    def _known(self, told: Iterable[Told]) -> list[Told]:
        return [one for one in told if (one.key.instance_id, one.key.incarnation) in self._places]

    def _set_in_flight(self, caller: Caller, instance_key: InstanceKey, count: int) -> None:
        before = caller.in_flight.get(instance_key, 0)
        if count != before:
            caller.in_flight[instance_key] = count
            self._in_flight[instance_key] += count - before
            self.on_load(instance_key)
