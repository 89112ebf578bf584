"""Publishes how busy every instance is to those who choose by it."""

from __future__ import annotations

from collections.abc import Callable

from forgemesh.balancer.application.callers.callers import Callers
from forgemesh.balancer.application.feed.subscription import Busy, Loads
from forgemesh.balancer.domain.caller import Caller, InstanceKey
from forgemesh.balancer.domain.events import LoadChange
from forgemesh.balancer.domain.fleet import Fleet, MemberState
from forgemesh.routing.policy import PluginPolicy
from forgemesh.routing.snapshot import Snapshot

CROWDED, CALM = 0.9, 0.8
"""Shares of its most calls at which an instance counts as overloaded, and from which on no longer."""


class LoadPublisher:
    """
    Calls under way by instance, as callers report them. `published` gives the snapshot that callers have; `on_overload`
    is told when an instance is nearly full, once, and once when it is no longer.
    """

    def __init__(self, fleet: Callable[[], Fleet], callers: Callers) -> None:
        self._fleet = fleet
        self._callers = callers
        self._crowded: set[InstanceKey] = set()
        self._moved: set[str] = set()
        self.published: Callable[[str], Snapshot] = Snapshot.nothing
        self.weight: Callable[[InstanceKey], float] = lambda instance_key: 0.0
        self.on_overload: Callable[[MemberState, LoadChange], None] = lambda standing, change: None

    def moved(self, instance_key: InstanceKey) -> None:
        """The number of calls under way on an instance has changed."""
        standing = self._fleet().standing(*instance_key)
        if standing is None:
            return
        self._moved.add(standing.member.plugin_id)
        most = standing.member.max_in_flight
        if not most:
            return
        count = self._callers.in_flight(instance_key)
        crowded = instance_key in self._crowded
        if crowded and count <= CALM * most:
            self._crowded.discard(instance_key)
        elif not crowded and count >= CROWDED * most:
            self._crowded.add(instance_key)
        else:
            return
        self.on_overload(standing, LoadChange(not crowded, count, most))

    def told(self, plugin_id: str) -> None:
        """An instance of a plugin has told of its load."""
        self._moved.add(plugin_id)

    def keep(self, instance_keys: frozenset[InstanceKey]) -> None:
        """These are the instances that there are."""
        self._crowded &= instance_keys

    def updates(self) -> list[str]:
        """The plugins whose instances' loads have changed since this was asked last, if callers heed them."""
        moved, self._moved = self._moved, set()
        return [plugin_id for plugin_id in moved if heeded(self._fleet().policy(plugin_id))]

    def of(self, plugin_id: str, caller: Caller) -> Loads:
        """What a caller needs to know of others on a plugin's instances."""
        if not heeded(self._fleet().policy(plugin_id)):
            return Loads(plugin_id, ())
        endpoints = self.published(plugin_id).endpoints
        instance_keys = [(endpoint.instance_id, endpoint.incarnation) for endpoint in endpoints]
        busy = [
            Busy(
                *instance_key,
                self._callers.in_flight(instance_key),
                caller.in_flight.get(instance_key, 0),
                self.weight(instance_key),
            )
            for instance_key in instance_keys
        ]
        return Loads(plugin_id, tuple(busy))


def heeded(policy: PluginPolicy) -> bool:
    """Whether callers choose by load."""
    return any(pick.heeds_load for pick in policy.picks) or policy.hash_bound > 0
