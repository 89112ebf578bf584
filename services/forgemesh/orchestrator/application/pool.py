"""The instances of one plugin, ready to be picked from."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from forgemesh.orchestrator.ports import HostLink, Hosts
from forgemesh.routing.eligibility import LocalView, any_version
from forgemesh.routing.pick import NoPick, Picked, pick
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Snapshot

NOBODYS = Turns()


class Pool:
    """
    What is known of one plugin's instances, worked out anew only after a change.

    `stale` is to be set when the hosts say that something has changed.
    """

    __slots__ = (
        "_full",
        "_hosts",
        "_in_flight",
        "_links",
        "_snapshot",
        "_turns",
        "_uniform",
        "_view",
        "plugin_id",
        "stale",
    )

    def __init__(self, hosts: Hosts, plugin_id: str) -> None:
        self._hosts = hosts
        self.plugin_id = plugin_id
        self.stale = True
        self._turns: dict[Policy, Turns] = {}
        self._links: Mapping[str, HostLink] = {}
        self._snapshot = Snapshot.nothing(plugin_id)
        self._in_flight: dict[str, int] = {}
        self._full: set[str] = set()
        self._view = LocalView()
        self._uniform: str | None = None

    def pick(
        self, operation: str, wanted: Callable[[str], bool], tried: frozenset[str], affinity: str, now: float
    ) -> Picked | NoPick:
        """See routing.pick; `now` is monotonic seconds."""
        if self.stale:
            self._look()
        if self._uniform is not None and wanted is not any_version and wanted(self._uniform):
            wanted = any_version
        snapshot = self._snapshot
        return pick(
            snapshot,
            self._turns.get(snapshot.policy.pick_of(operation), NOBODYS),
            self._view,
            draw=random.random,
            operation=operation,
            wanted=wanted,
            exclude=tried,
            affinity=affinity,
            now=now,
        )

    def take(self, picked: Picked) -> HostLink:
        """The way to what was picked; a call will follow on it, after which `sent` is told."""
        self._turns[picked.policy] = picked.cursor
        return self._links[picked.endpoint.instance_id]

    def sent(self, instance_id: str, link: HostLink) -> None:
        """A call has gone to the instance."""
        self._in_flight[instance_id] = link.in_flight
        if not link.has_room:
            self._full.add(instance_id)

    def _look(self) -> None:
        self.stale = False
        self._links = links = self._hosts.links(self.plugin_id)
        snapshot = self._hosts.snapshot(self.plugin_id)
        if snapshot is not None and snapshot is not self._snapshot:
            self._snapshot = snapshot
            versions = {endpoint.plugin_version for endpoint in snapshot.endpoints}
            self._uniform = versions.pop() if len(versions) == 1 else None
        self._in_flight = {instance_id: link.in_flight for instance_id, link in links.items()}
        self._full = {instance_id for instance_id, link in links.items() if not link.has_room}
        lost = {
            (endpoint.instance_id, endpoint.incarnation)
            for endpoint in self._snapshot.open
            if not links[endpoint.instance_id].usable
        }
        self._view = LocalView(in_flight=self._in_flight, lost=lost, full=self._full)
