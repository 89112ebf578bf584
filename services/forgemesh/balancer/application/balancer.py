"""Folds what the registry and the health checks say into snapshots, and hands these to subscribers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

from forgemesh.balancer.application.subscription import Subscription
from forgemesh.balancer.domain.fleet import Fleet, Member
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.balancer.ports import HealthChecks
from forgemesh.faults.routing import BalancerWarming
from forgemesh.faults.service import ShuttingDown
from forgemesh.routing.snapshot import Snapshot


class Balancer:
    """
    Knows nothing at its start and says nothing (BalancerWarming) until it has seen the registry's instances and each
    of them has been checked once, or `first_checks` seconds have passed since.

    From then on it keeps what it knows, whatever becomes of the registry: age alone removes nobody. A plugin whose
    last instance has gone keeps an empty snapshot. `clock` is monotonic.
    """

    def __init__(
        self,
        checks: HealthChecks,
        clock: Callable[[], float],
        *,
        coalesce: float,
        heartbeat: float,
        first_checks: float,
    ) -> None:
        self._checks = checks
        self._clock = clock
        self._coalesce = coalesce
        self._heartbeat = heartbeat
        self._first_checks = first_checks
        self._fleet = Fleet(epoch=0)
        self._published: dict[str, Snapshot] = {}
        self._subscriptions: set[Subscription] = set()
        self._synced = asyncio.Event()
        self._checked = asyncio.Event()
        self._changed = asyncio.Event()
        self._closed = False
        self.warm = asyncio.Event()
        self.on_verdict: Callable[[], None] = lambda: None

    @property
    def epoch(self) -> int:
        """Zero until it has been acquired."""
        return self._fleet.epoch

    @property
    def fleet(self) -> Fleet:
        """Everything that is known of the instances."""
        return self._fleet

    @property
    def subscriptions(self) -> Collection[Subscription]:
        """Those who are told of changes."""
        return self._subscriptions

    def begin(self, epoch: int) -> None:
        """Take the epoch; comes before everything that is told."""
        self._fleet = Fleet(epoch)

    def listed(self, members: Collection[Member]) -> None:
        """The registry lists exactly these."""
        self._recruit(self._fleet.listed(members, self._clock()))
        self._synced.set()

    def changed(self, member: Member) -> None:
        """The registry says that an instance appeared or changed."""
        self._recruit(self._fleet.changed(member, self._clock()))

    def gone(self, instance_id: str, incarnation: int) -> None:
        """The registry says that an instance is gone."""
        self._recruit(self._fleet.gone(instance_id, incarnation))

    def judged(self, instance_id: str, incarnation: int, verdict: Verdict) -> None:
        """The checks of an instance say something."""
        self._take(self._fleet.judged(instance_id, incarnation, verdict, self._clock()))
        self.on_verdict()

    async def run(self) -> None:
        """Warm up, then publish what changes, until cancelled."""
        await self._synced.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._first_checks):
                await self._checked.wait()
        self._publish()
        self.warm.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._coalesce)
            self._publish()

    def snapshots(self, plugin_id: str, after: str, size: int) -> tuple[Sequence[Snapshot], bool]:
        """A page by plugin id, and whether there are more; an empty `plugin_id` means all. Raises BalancerWarming."""
        self._refuse_unless_warm()
        found = sorted(key for key in self._published if key > after and plugin_id in ("", key))
        return [self._published[key] for key in found[:size]], len(found) > size

    @contextlib.contextmanager
    def subscribed(self, subscriber: str) -> Iterator[Subscription]:
        """A subscription for the length of the block; raises BalancerWarming."""
        self._refuse_unless_warm()
        subscription = Subscription(subscriber, self._published.values(), heartbeat=self._heartbeat, clock=self._clock)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all subscriptions; new ones are refused."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _refuse_unless_warm(self) -> None:
        if self._closed:
            raise ShuttingDown("balancer")
        if not self.warm.is_set():
            raise BalancerWarming

    def _recruit(self, fleet: Fleet) -> None:
        """The registry told what there is: check exactly that."""
        self._take(fleet)
        members = [standing.member for standing in fleet.standings.values()]
        self._checks.follow([member for member in members if member.has_process], self.judged)

    def _take(self, fleet: Fleet) -> None:
        """Publish soon what is different."""
        if fleet is not self._fleet:
            self._fleet = fleet
            self._changed.set()
        if not fleet.unchecked:
            self._checked.set()

    def _publish(self) -> None:
        self._changed.clear()
        for plugin_id, revision in self._fleet.revisions.items():
            published = self._published.get(plugin_id)
            if published is None or published.revision.revision != revision:
                snapshot = self._published[plugin_id] = self._fleet.snapshot(plugin_id)
                for subscription in self._subscriptions:
                    subscription.offer(snapshot)
