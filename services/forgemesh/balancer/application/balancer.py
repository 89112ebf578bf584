"""Folds what the registry, the health checks and the callers say into snapshots, and hands these to subscribers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from forgemesh.balancer.application.callers.callers import Callers
from forgemesh.balancer.application.callers.demands import Demands
from forgemesh.balancer.application.circuits.circuits import Circuits, Guarded
from forgemesh.balancer.application.circuits.health_trials import HealthTrials
from forgemesh.balancer.application.circuits.permits import PermitDealer
from forgemesh.balancer.application.events.events import Events
from forgemesh.balancer.application.feed.feed import Feed
from forgemesh.balancer.application.feed.follower import Follower
from forgemesh.balancer.application.feed.load_publisher import LoadPublisher
from forgemesh.balancer.application.feed.subscription import Subscription
from forgemesh.balancer.application.members.load_weights import LoadWeights
from forgemesh.balancer.application.members.outliers import Outliers
from forgemesh.balancer.domain.caller import Caller, InstanceKey, Told
from forgemesh.balancer.domain.events import Author, CircuitChange, EjectionChange, HealthChange, LoadChange
from forgemesh.balancer.domain.fleet import Fleet, Member, MemberState
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.balancer.ports import HealthChecks, LoadReports
from forgemesh.chassis.containment import contained
from forgemesh.chassis.tasks import lasting
from forgemesh.chassis.waking_clock import patience
from forgemesh.faults.routing import BalancerWarming
from forgemesh.faults.service import ShuttingDown
from forgemesh.routing.endpoint import CircuitState, CircuitView, Health
from forgemesh.routing.outcome import CallCounts, CountKey, PermitOutcome
from forgemesh.routing.policy import PluginPolicy
from forgemesh.routing.scaling import Demanded
from forgemesh.routing.snapshot import Snapshot

FIRST_EPOCH = 1
"""That of the first balancer of a mesh: there are no circuits from before."""
LOAD_PERIOD = 0.2
"""Seconds between hints of how busy instances are."""
SWEEP_PERIOD = 0.5
"""Seconds between looks at callers that have left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """
    Seconds: changes within `coalesce` go out together; a subscriber hears at least every `heartbeat`. After the first
    sync with the registry the feed opens at the latest after `first_checks`, even if an instance has not answered yet,
    and, unless nobody was there before, not before `adoption`, so that subscribers can say what they know of circuits.
    """

    coalesce: float
    heartbeat: float
    first_checks: float
    adoption: float = 0.0


class Balancer:
    """
    Knows nothing at its start and says nothing (BalancerWarming) until it has seen the registry's instances and each
    of them has been checked once; see Times. From then on it keeps what it knows, whatever becomes of the registry: age
    alone removes nobody.

    `clock` is monotonic, `draw` gives uniform numbers in [0, 1), `new_id` names permits.
    """

    def __init__(
        self,
        checks: HealthChecks,
        reports: LoadReports,
        events: Events,
        clock: Callable[[], float],
        *,
        draw: Callable[[], float],
        new_id: Callable[[], str],
        times: Times,
    ) -> None:
        self._checks = checks
        self._clock = clock
        self._times = times
        self._fleet = Fleet(epoch=0)
        self.events = events
        self.callers = Callers(clock)
        self.circuits = Circuits(lambda: self._fleet, checks, clock, draw)
        self.demands = Demands(lambda: self._fleet, self.callers, clock)
        self.load_publisher = LoadPublisher(lambda: self._fleet, self.callers)
        self.weights = LoadWeights(lambda: self._fleet, reports, clock)
        self.feed = Feed(clock, self.load_publisher.of, heartbeat=times.heartbeat)
        self.permits = PermitDealer(self.circuits, self.callers, lambda: self.feed.subscriptions, clock, new_id)
        self.health_trials = HealthTrials(self.circuits, self.permits, checks, self.feed.is_followed_by_stock, clock)
        self.outliers = Outliers(lambda: self._fleet, clock)
        self._synced, self._checked = asyncio.Event(), asyncio.Event()
        self._changed, self._due = asyncio.Event(), asyncio.Event()
        self._closed = False
        self.warm = asyncio.Event()
        self.on_verdict: Callable[[], None] = lambda: None
        self.on_circuit: Callable[[Guarded], None] = lambda guarded: None
        self.callers.on_counts = self._counted
        self.callers.on_load = self._moved
        self.callers.on_lost = self.permits.left
        self.circuits.on_change = self._circuit_changed
        self.circuits.on_look = self._due.set
        self.outliers.on_out = self._ejected
        self.load_publisher.published = self.feed.snapshot
        self.load_publisher.weight = self.weights.of
        self.weights.on_report = self.load_publisher.told
        self.load_publisher.on_overload = self._load_changed

    @property
    def epoch(self) -> int:
        """Zero until it has been acquired."""
        return self._fleet.epoch

    @property
    def fleet(self) -> Fleet:
        """Everything that is known of the instances."""
        return self._fleet

    def begin(self, epoch: int) -> None:
        """Take the epoch; comes before everything that is told."""
        self._fleet = Fleet(epoch, policies=self._fleet.policies)
        self.events.begin(epoch)

    def listed(self, members: Collection[Member]) -> None:
        """The registry lists exactly these."""
        self._synced.set()
        self._recruit(self._fleet.listed(members, self._clock()))

    def changed(self, member: Member) -> None:
        """The registry says that an instance appeared or changed."""
        self._recruit(self._fleet.changed(member, self._clock()))

    def gone(self, instance_id: str, incarnation: int) -> None:
        """The registry says that an instance is gone."""
        self._recruit(self._fleet.gone(instance_id, incarnation))

    def judged(self, instance_id: str, incarnation: int, verdict: Verdict) -> None:
        """The checks of an instance say something. One that is back after it was out has to pass a trial call."""
        standing = self._fleet.standing(instance_id, incarnation)
        self._take(self._fleet.judged(instance_id, incarnation, verdict, self._clock()))
        if standing is not None and standing.verdict.health is not verdict.health:
            before = standing.verdict.health
            change = HealthChange(before, verdict.health, verdict.reason)
            self._publish_event(standing.member.plugin_id, (instance_id, incarnation), change)
            if verdict.health is Health.SERVING and standing.warming_since is not None:  # it is not the first time
                self.circuits.health_is_back((instance_id, incarnation), f"serves again, was {before.value}")
        self.on_verdict()

    def ruled(self, plugin_id: str, policy: PluginPolicy) -> None:
        """Another policy counts for a plugin."""
        self._take(self._fleet.ruled(plugin_id, policy))
        self.circuits.ruled(plugin_id)
        self.outliers.ruled()
        self.weights.follow()
        self._due.set()

    def adopted(self, circuits: Iterable[tuple[InstanceKey, CircuitView]]) -> None:
        """Circuits as an earlier balancer left them."""
        for instance_key, view in circuits:
            self.circuits.left_behind(instance_key, view)

    def reported(
        self,
        subscription: Subscription,
        sequence: int,
        told: Sequence[Told],
        permits: Iterable[PermitOutcome],
        demands: Mapping[Demanded, int],
    ) -> None:
        """A subscriber says what it has seen of its calls; see report.proto."""
        for outcome in permits:
            self.permits.settled(outcome)
        self.callers.reported(subscription.caller, sequence, self._known(told), demands)
        self.permits.deal()

    def counted(self, caller: Caller, sequence: int, told: Sequence[Told]) -> None:
        """The same of a caller that neither waits nor makes trial calls."""
        self.callers.reported(caller, sequence, self._known(told), {})

    async def run(self) -> None:
        """Warm up, then publish what changes, until cancelled."""
        await self._warm_up()
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting("the publication of changes", self._publish_changes))
            group.create_task(lasting("the look after circuits", self._look_after_circuits))
            group.create_task(lasting("the look after loads", self._look_after_loads))
            group.create_task(lasting("the look for outliers", self.outliers.run))

    def snapshots(self, plugin_id: str, after: str, size: int) -> tuple[Sequence[Snapshot], bool]:
        """See Feed.page, with the calls under way at this moment; raises BalancerWarming."""
        self.refuse_unless_warm()
        page, more = self.feed.page(plugin_id, after, size)
        return [self._with_calls(snapshot) for snapshot in page], more

    @contextlib.contextmanager
    def subscribed(self, name: str, boot: str, baseline: Iterable[Told] = ()) -> Iterator[Subscription]:
        """A subscription for the length of the block; raises BalancerWarming."""
        self.refuse_unless_warm()
        subscription = self.feed.open(self.callers.arrived(name, boot, self._known(baseline)))
        try:
            yield subscription
        finally:
            self.feed.drop(subscription)
            if all(other.caller is not subscription.caller for other in self.feed.subscriptions):
                self.callers.left(subscription.caller)

    @contextlib.contextmanager
    def followed(self, follower: Follower) -> Iterator[None]:
        """A follower that makes no trial calls, for the length of the block; raises BalancerWarming."""
        self.refuse_unless_warm()
        self.feed.join(follower)
        try:
            yield
        finally:
            self.feed.drop(follower)

    def is_there(self, key: CountKey) -> bool:
        """Whether the plugin has this instance."""
        standing = self._fleet.standing(key.instance_id, key.incarnation)
        return standing is not None and standing.member.plugin_id == key.plugin_id

    def close(self) -> None:
        """End all subscriptions; new ones are refused."""
        self._closed = True
        self.feed.close()
        self.events.close()
        self.demands.close()

    def refuse_unless_warm(self) -> None:
        """Raises BalancerWarming as long as not everything is known, ShuttingDown at the end."""
        if self._closed:
            raise ShuttingDown("balancer")
        if not self.warm.is_set():
            raise BalancerWarming

    async def _warm_up(self) -> None:
        await self._synced.wait()
        adopted = self._clock() + (self._times.adoption if self.epoch > FIRST_EPOCH else 0.0)
        with contextlib.suppress(TimeoutError):
            async with patience(self._times.first_checks):
                await self._checked.wait()
        with contextlib.suppress(TimeoutError):
            async with patience(adopted - self._clock()):
                await asyncio.Event().wait()
        self.circuits.synced()
        self._publish()
        self.demands.begin()
        self.warm.set()

    async def _publish_changes(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._times.coalesce)
            self._publish()

    async def _look_after_circuits(self) -> None:
        """Whenever something is due, and every now and then because callers go without a word."""
        while True:
            self._due.clear()
            self.callers.sweep()
            due = self.circuits.look()
            self.permits.deal()
            self.health_trials.look()
            pause = SWEEP_PERIOD if due is None else min(SWEEP_PERIOD, max(0.0, due - self._clock()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._due.wait()

    async def _look_after_loads(self) -> None:
        while True:
            await asyncio.sleep(LOAD_PERIOD)
            for plugin_id in self.load_publisher.updates():
                with contained(f"the load of {plugin_id}"):
                    self.feed.publish_loads(plugin_id)

    def _recruit(self, fleet: Fleet) -> None:
        """The registry told what there is: check and guard exactly that."""
        self._take(fleet)
        standings = fleet.standings.values()
        members = [standing.member for standing in standings]
        self._checks.follow([member for member in members if member.has_process], self.judged)
        instance_keys = frozenset((member.instance_id, member.incarnation) for member in members)
        self.callers.keep(instance_keys)
        self.load_publisher.keep(instance_keys)
        self.demands.keep(instance_keys)
        self.circuits.follow(standings)
        self.weights.follow()

    def _take(self, fleet: Fleet) -> None:
        """Publish soon what is different."""
        if fleet is not self._fleet:
            self._fleet = fleet
            self._changed.set()
        if self._synced.is_set() and not fleet.unchecked:
            self._checked.set()

    def _publish(self) -> None:
        self._changed.clear()
        self.feed.publish(self._fleet)

    def _with_calls(self, snapshot: Snapshot) -> Snapshot:
        count = self.callers.in_flight
        endpoints = [replace(one, in_flight=count((one.instance_id, one.incarnation))) for one in snapshot.endpoints]
        return replace(snapshot, endpoints=tuple(endpoints))

    def _known(self, told: Iterable[Told]) -> list[Told]:
        """What is told of instances that there are, and of their own plugins."""
        return [one for one in told if self.is_there(one.key)]

    def _moved(self, instance_key: InstanceKey) -> None:
        self.load_publisher.moved(instance_key)
        self.demands.moved(instance_key)

    def _counted(self, key: CountKey, counts: CallCounts) -> None:
        if counts.started:
            self.demands.called((key.instance_id, key.incarnation), key.plugin_id)
        self.circuits.record(key, counts)
        self.outliers.record(key, counts)

    def _circuit_changed(self, guarded: Guarded, before: CircuitState | None, author: Author | None) -> None:
        view = guarded.circuit.view()
        self._take(self._fleet.guarded(*guarded.instance_key, view, self._clock()))
        if before is not None and view.state is not before:
            self._publish_event(guarded.plugin_id, guarded.instance_key, CircuitChange(before, view), author)
        self.on_circuit(guarded)

    def _load_changed(self, standing: MemberState, change: LoadChange) -> None:
        member = standing.member
        self._publish_event(member.plugin_id, (member.instance_id, member.incarnation), change)

    def _ejected(self, plugin_id: str, out: Mapping[str, str]) -> None:
        """Exactly these instances of a plugin are out, each for its reason."""
        before = self._fleet
        self._take(before.ejecting(plugin_id, out.keys()))
        for instance_id, standing in self._fleet.standings.items():
            was = before.standings[instance_id]
            if was.ejected is not standing.ejected:
                change = EjectionChange(standing.ejected, out.get(instance_id, "its time is over"))
                self._publish_event(standing.member.plugin_id, (instance_id, standing.member.incarnation), change)

    def _publish_event(
        self,
        plugin_id: str,
        instance_key: InstanceKey,
        change: CircuitChange | HealthChange | LoadChange | EjectionChange,
        author: Author | None = None,
    ) -> None:
        instance_id, incarnation = instance_key
        self.events.publish(
            change, plugin_id=plugin_id, instance_id=instance_id, incarnation=incarnation, author=author
        )
