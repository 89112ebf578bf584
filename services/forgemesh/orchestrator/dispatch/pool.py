"""The instances of one plugin, ready to be picked from."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from forgemesh.notation.version_range import any_version
from forgemesh.orchestrator.dispatch.call_request import CallRequest, HeldBack
from forgemesh.orchestrator.dispatch.outcome_counters import InstanceCounter
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import HostLink, Hosts
from forgemesh.routing.eligibility import LocalView, Permit, permit_for
from forgemesh.routing.pick import NoPick, Picked, pick
from forgemesh.routing.policy import Policy
from forgemesh.routing.retry_budget import allows
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Snapshot

NOBODY: frozenset[str] = frozenset()
BEGINNINGS = 1 << 16
"""Callers that start together begin at different instances."""


class Pool:
    """
    What is known of one plugin's instances, worked out anew only after a change.

    `stale` is to be set when the hosts say that something has changed. `retries` are those under way.
    """

    __slots__ = (
        "_counters",
        "_first",
        "_full",
        "_hosts",
        "_in_flight",
        "_links",
        "_permits",
        "_recorder",
        "_turns",
        "_uniform",
        "_view",
        "plugin_id",
        "retries",
        "snapshot",
        "stale",
    )

    def __init__(self, hosts: Hosts, recorder: OutcomeRecorder, plugin_id: str) -> None:
        self._hosts = hosts
        self._recorder = recorder
        self.plugin_id = plugin_id
        self.stale = True
        self.retries = 0
        self.snapshot = Snapshot.nothing(plugin_id)
        self._first = Turns(start=random.randrange(BEGINNINGS))
        self._turns: dict[Policy, Turns] = {}
        self._links: Mapping[str, HostLink] = {}
        self._permits: Mapping[str, Permit] = recorder.permits.shown(plugin_id)
        self._in_flight: dict[str, int] = {}
        self._full: set[str] = set()
        self._view = LocalView(tripped=recorder.breakers.out, permits=self._permits, loads=recorder.loads(plugin_id))
        self._uniform: str | None = None
        self._counters: dict[str, InstanceCounter] = {}

    @property
    def in_flight(self) -> int:
        """This process's calls under way on the plugin's instances."""
        return sum(self._in_flight.values())

    def pick(
        self, request: CallRequest, wanted: Callable[[str], bool], now: float, *, last_resort: bool = True
    ) -> Picked | NoPick:
        """
        See routing.pick; `now` is monotonic seconds.

        A call that must not be repeated is a trial call only if there is no other way for it (`last_resort`: nor among
        other plugins), or if nothing else came in half of the time of a permit.
        """
        if self.stale:
            self._look()
        if self._uniform is not None and wanted is not any_version and wanted(self._uniform):
            wanted = any_version
        if not self._permits or not self._recorder.permits.usable(self.plugin_id, now):
            return self._pick(request, wanted, now, trial=False)
        trial = request.idempotent is not False or self._recorder.permits.ageing(self.plugin_id, now)
        found = self._pick(request, wanted, now, trial=trial)
        if isinstance(found, NoPick) and not trial and last_resort:
            return self._pick(request, wanted, now, trial=True)
        return found

    def _pick(self, request: CallRequest, wanted: Callable[[str], bool], now: float, *, trial: bool) -> Picked | NoPick:
        snapshot, operation = self.snapshot, request.target.operation
        return pick(
            snapshot,
            self._turns.get(snapshot.policy.pick_of(operation), self._first),
            self._view,
            draw=random.random,
            operation=operation,
            wanted=wanted,
            exclude=request.tried if not request.affinity else NOBODY,
            affinity=request.affinity,
            trial=trial,
            now=now,
        )

    def may_try(self, wanted: Callable[[str], bool], now: float) -> bool:
        """Whether there is a permit for an instance of a wanted version."""
        if not self._permits or not self._recorder.permits.usable(self.plugin_id, now):
            return False
        if self.stale:
            self._look()
        half_open = self.snapshot.half_open
        return any(permit_for(endpoint, self._view) and wanted(endpoint.plugin_version) for endpoint in half_open)

    def holds_back(self) -> HeldBack | None:
        """Why one more retry has to wait, if it has to."""
        if allows(self.snapshot.policy.retry_budget, self.in_flight, self.retries):
            return None
        return HeldBack(self.plugin_id, self.retries)

    def take(self, picked: Picked) -> tuple[HostLink, InstanceCounter]:
        """
        The way to what was picked, and where calls on it are counted; a call will follow, after which `sent` is told.
        """
        self._turns[picked.policy] = picked.cursor
        instance_id = picked.endpoint.instance_id
        counter = self._counters.get(instance_id)
        if counter is None:
            counter = self._counters[instance_id] = self._recorder.counter(self.plugin_id, picked.endpoint)
        return self._links[instance_id], counter

    def sent(self, instance_id: str, link: HostLink) -> None:
        """A call has gone to the instance."""
        self._in_flight[instance_id] = link.in_flight
        if not link.has_room:
            self._full.add(instance_id)

    def _look(self) -> None:
        self.stale = False
        self._links = links = self._hosts.links(self.plugin_id)
        snapshot = self._hosts.snapshot(self.plugin_id)
        if snapshot is not None and snapshot is not self.snapshot:
            self._take_on(snapshot)
        self._in_flight = {instance_id: link.in_flight for instance_id, link in links.items()}
        self._full = {instance_id for instance_id, link in links.items() if not link.has_room}
        lost = {
            (endpoint.instance_id, endpoint.incarnation)
            for endpoint in (*self.snapshot.open, *self.snapshot.half_open)
            if not links[endpoint.instance_id].usable
        }
        self._view = replace(self._view, in_flight=self._in_flight, lost=lost, full=self._full)

    def _take_on(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._counters.clear()
        versions = {endpoint.plugin_version for endpoint in snapshot.endpoints}
        self._uniform = versions.pop() if len(versions) == 1 else None
        self._recorder.stands(snapshot)
