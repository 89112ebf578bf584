"""The registry at work: one change at a time, durable before it is seen, seen before watchers are told."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from forgemesh.faults.registry import PluginNotFound
from forgemesh.faults.service import ShuttingDown, StoreUnavailable
from forgemesh.registry.application.availability import Availability, Verdict
from forgemesh.registry.application.contests import Contests
from forgemesh.registry.application.event_publisher import EventPublisher
from forgemesh.registry.application.providers import Known, Search
from forgemesh.registry.application.settling import settle, within
from forgemesh.registry.domain.census import Census, InstanceLimits
from forgemesh.registry.domain.changes import Change, Changed, ChangeLog, Gone, GoneReason
from forgemesh.registry.domain.event import Kind
from forgemesh.registry.domain.instance import Claim, Instance, Registration, Revision, State
from forgemesh.registry.domain.leases import Leases
from forgemesh.registry.domain.manifest import Key, Manifest, Requirement
from forgemesh.registry.domain.preservation import WINDOW, Preservation
from forgemesh.registry.domain.ranking import Load, Ranked
from forgemesh.registry.domain.resolution import Resolution
from forgemesh.registry.domain.resolver import resolve
from forgemesh.registry.domain.rules import Rules
from forgemesh.registry.ports import Clock, Store, Stored

_log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_AFTER_FAILURE = 1.0
"""Seconds until expired leases are looked at again after the store could not take them."""


@dataclass(frozen=True, slots=True)
class Everything:
    """All registrations at one revision, ordered by instance id."""

    revision: int
    registrations: Sequence[Registration]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing changed; the watcher is up to date."""

    revision: int


Step: TypeAlias = Everything | Changed | Gone | Quiet


class Registry:
    """
    Plugins, instances and leases.

    Changes are made by `run`, one after another, so that a caller who gives up half-way leaves nothing half done.
    Leases are not durable: each stored registration starts with a fresh one, so that a restart loses nobody and those
    who died meanwhile are gone within a lease.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        stored: Stored,
        events: EventPublisher,
        limits: InstanceLimits,
        *,
        bookmark: float,
        remembered: int,
    ) -> None:
        self._events = events
        self._availability = Availability(events)
        self._preservation = Preservation()
        self._preserving = False
        self._store = store
        self._clock = clock
        self._instances = stored.instances
        self._catalogue = stored.catalogue
        self._rules = stored.rules
        self._owners = stored.owners
        self._loads: dict[tuple[str, int], Load] = {}
        self._turn = -1
        self._bookmark = bookmark
        self._log = ChangeLog(self._instances.epoch, self._instances.revision, remembered)
        self._contests = Contests(events, clock)
        self._leases = Leases()
        self._census = Census(limits, self._instances.registrations)
        for registration in self._instances.registrations.values():
            self._start_lease(registration)
        self._waiting: deque[tuple[Callable[[], Awaitable[object]], asyncio.Future[object]]] = deque()
        self._wake = asyncio.Event()
        self._retry_at = 0.0
        self._moved = asyncio.Event()
        self._closed = False

    @property
    def epoch(self) -> int:
        """Identifies this registry's history."""
        return self._instances.epoch

    @property
    def registrations(self) -> Collection[Registration]:
        """All instances."""
        return self._instances.registrations.values()

    async def run(self) -> None:
        """Make the changes that are asked for and end the leases that run out, until cancelled."""
        while True:
            end = self._leases.next_end()
            await self._clock.wait(self._wake, None if end is None else max(end, self._retry_at))
            self._wake.clear()
            while self._waiting:
                work, done = self._waiting.popleft()
                await settle(work, done)
            await self._expire()

    def close(self) -> None:
        """End all watches; new ones are refused."""
        self._closed = True
        self._tell_watchers()

    def has(self, manifest: Manifest) -> bool:
        """Whether just this is published already."""
        return self._catalogue.manifests.get(manifest.key) == manifest

    async def publish(self, manifest: Manifest, key: bytes = b"") -> bool:
        """Whether the manifest was new; `key` is a digest, or empty. Raises ManifestConflict, PluginOwnedByOther."""

        async def work() -> bool:
            owners, created = self._owners.claimed(manifest.plugin_id, key), self._catalogue.publish(manifest)
            if created or owners is not self._owners:
                await self._store.publish(manifest if created else None, owners)
                self._owners = owners
            if created:
                self._catalogue = self._catalogue.after(manifest)
                plugin_id, version = manifest.key
                said = f"plugin {plugin_id} {version} is published"
                self._events.tell(Kind.PUBLISHED, said, plugin_id=plugin_id, plugin_version=version)
            return created

        return await self._in_turn(work)

    async def resolve(self, requirements: Sequence[Requirement]) -> Resolution:
        """What fulfils the requirements; raises DependencyMissing, VersionConflict, DependencyCycle."""
        return await asyncio.to_thread(resolve, self._catalogue, self._rules, requirements)

    async def set_quarantine(self, key: Key, reason: str | None) -> bool:
        """Take a version out of use for a reason or, if that is None, let it back; raises PluginNotFound."""

        async def work() -> bool:
            if key not in self._catalogue.manifests:
                raise PluginNotFound(f"{key[0]} {key[1]}")
            rules = self._rules.with_quarantine(key, reason)
            if rules == self._rules:
                return False
            await self._commit(self._instances.quarantine(key, reason or ""), rules)
            kind = Kind.RELEASED if reason is None else Kind.QUARANTINED
            said = "may be used again" if reason is None else f"is in quarantine: {reason}"
            self._events.tell(kind, f"plugin {key[0]} {key[1]} {said}", plugin_id=key[0], plugin_version=key[1])
            return True

        return await self._in_turn(work)

    async def pin(self, plugin_id: str, version_range: str) -> bool:
        """Hold a plugin to a range or, if that is empty, let it go; raises PluginNotFound."""

        async def work() -> bool:
            if plugin_id not in self._catalogue.releases:
                raise PluginNotFound(plugin_id)
            rules = self._rules.with_pin(plugin_id, version_range)
            if rules == self._rules:
                return False
            await self._commit((), rules)
            kind = Kind.PINNED if version_range else Kind.UNPINNED
            said = f"is held to {version_range}" if version_range else "is held to no range any more"
            self._events.tell(kind, f"plugin {plugin_id} {said}", plugin_id=plugin_id)
            return True

        return await self._in_turn(work)

    @property
    def rules(self) -> Rules:
        """What operators have said about versions."""
        return self._rules

    async def register(
        self, wanted: Instance, owner: bytes, ttl: float, peer: str, plugin_key: bytes = b""
    ) -> tuple[Registration, Revision]:
        """
        A new incarnation with a new lease, for the host `peer`.

        Raises TooManyInstances, InstanceOwnedByOther, PluginOwnedByOther.
        """
        self._census.admit(wanted, peer)

        async def work() -> tuple[Registration, Revision]:
            self._owners.refuse_others(wanted.plugin_id, plugin_key)
            self._census.admit(wanted, peer)
            alive = self._leases.holds(wanted.instance_id, self._clock.monotonic())
            key = (wanted.plugin_id, wanted.plugin_version)
            manifest = self._catalogue.manifests.get(key)
            change = self._instances.register(
                wanted,
                owner,
                ttl,
                alive=alive,
                at=self._clock.wall(),
                renewals=self._leases.renewals(wanted.instance_id),
                quarantine=self._rules.quarantined.get(key, ""),
                manifest_digest=manifest.digest if manifest is not None else "",
            )
            before = self._instances.registrations.get(wanted.instance_id) if alive else None
            await self._commit([change])
            self._census.came(wanted, peer)
            self._start_lease(change.registration)
            self._contests.registered(before, change.registration)
            return change.registration, self._instances.position

        return await self._in_turn(work)

    def providers(self, search: Search) -> tuple[Sequence[Ranked], Revision]:
        """Who provides something, and the revision that this shows; see Known.search."""
        self._turn += 1
        known = Known(
            self._catalogue,
            tuple(self._instances.registrations.values()),
            self._availability.of,
            lambda registration: self._loads.get((registration.instance.instance_id, registration.incarnation), Load()),
            self._clock.wall(),
        )
        return known.search(search, self._turn), self._instances.position

    def renew(self, claim: Claim, load: Load | None, peer: str) -> float:
        """For how many seconds the lease is valid now; raises LeaseNotFound, StaleIncarnation, InstanceOwnedByOther."""
        alive = self._leases.holds(claim.instance_id, self._clock.monotonic())
        registration = self._instances.renewable(claim, alive=alive)
        self._start_lease(registration)
        self._census.seen(claim.instance_id, peer)
        if load is not None:
            self._loads[claim.instance_id, claim.incarnation] = load
        if registration.suspect:
            self._soon(partial(self._trust, claim.instance_id))
        return registration.ttl

    async def deregister(self, claim: Claim, *, drain: bool) -> bool:
        """Whether this changed anything; raises StaleIncarnation, InstanceOwnedByOther."""

        async def work() -> bool:
            change = self._instances.drain(claim) if drain else self._instances.end(claim)
            if change is not None:
                await self._commit([change])
            return change is not None

        return await self._in_turn(work)

    def report_availability(self, epoch: int, verdicts: Sequence[Verdict]) -> None:
        """A balancer says what has changed; of instances that are gone, or registered anew, nothing is taken."""
        known = self._instances.registrations
        self._availability.report(
            epoch, [(known[one.instance_id], one) for one in verdicts if one.instance_id in known]
        )

    async def next_balancer_epoch(self) -> int:
        """A number larger than every one before."""
        return await self._store.next_balancer_epoch()

    def plugins(self, plugin_id: str, after: Key | None, size: int) -> tuple[Sequence[Manifest], bool]:
        """A page of the catalogue and whether there are more; an empty `plugin_id` means all."""
        return self._catalogue.page(plugin_id, after, size)

    def instances(self, plugin_id: str, after: str, size: int) -> tuple[Sequence[Registration], bool, Revision]:
        """A page of the instances by id, whether there are more, and the revision it shows."""
        page, more = self._instances.page(plugin_id, after, size)
        return page, more, self._instances.position

    async def watch(self, resume_after: Revision | None) -> AsyncGenerator[Step, None]:
        """Everything, or what changed since, then each change once; raises RevisionCompacted, also to the slow."""
        if resume_after is None:
            seen = self._instances.position
            yield Everything(seen.revision, self._instances.page("", "", len(self._instances.registrations))[0])
        else:
            seen = resume_after
            if not self._log.after(seen):
                yield Quiet(seen.revision)
        while not self._closed:
            moved = self._moved
            changes = self._log.after(seen)
            for change in changes:
                yield change
                seen = Revision(seen.epoch, change.revision)
            if not changes and not await within(self._bookmark, moved):
                yield Quiet(seen.revision)
        raise ShuttingDown("registry")

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))  # type: ignore[arg-type]  # a future of anything
        self._wake.set()
        return await done

    def _soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it in turn; nobody waits for it, and a store that takes nothing is asked again by the next renewal."""

        async def careful() -> None:
            try:
                await work()
            except StoreUnavailable as fault:
                _log.warning("what is suspect stays so for now: %s", fault)

        self._waiting.append((careful, asyncio.get_running_loop().create_future()))
        self._wake.set()

    async def _expire(self) -> None:
        now = self._clock.monotonic()
        expired = self._leases.expired(now)
        if not expired or now < self._retry_at:
            return
        preservation, lapsed = self._preservation.judged(expired, len(self._instances.registrations), now)
        held = expired[len(lapsed) :]
        changes: list[Change] = list(self._instances.expire(lapsed))
        changes += self._instances.suspect(held, suspect=True, ahead=len(lapsed))
        try:
            await self._commit(changes)
        except StoreUnavailable as fault:
            self._retry_at = now + RETRY_AFTER_FAILURE
            _log.error("%d expired instances stay listed: %s", len(changes), fault)
            return
        self._preservation = preservation
        for instance_id in lapsed:
            _log.warning("instance %s is gone: its lease expired", instance_id)
        for instance_id in held:
            self._leases.hold(instance_id, now + WINDOW)
        self._tell_preserving(len(held))

    def _tell_preserving(self, held: int) -> None:
        """Tell when it begins to keep instances whose leases ran out, and when none of them is left."""
        if held and not self._preserving:
            self._preserving = True
            said = f"{held} leases ran out together with others; their instances are kept as suspect"
            _log.error("%s", said)
            self._events.tell(Kind.PRESERVING, said)
        elif self._preserving and not any(one.suspect for one in self._instances.registrations.values()):
            self._preserving = False
            self._events.tell(Kind.PRESERVED, "no instance is kept any more whose lease ran out")

    async def _trust(self, instance_id: str) -> None:
        """A suspect has renewed its lease."""
        if instance_id in self._instances.registrations:
            await self._commit(self._instances.suspect([instance_id], suspect=False))
            self._tell_preserving(0)

    async def _commit(self, changes: Sequence[Change], rules: Rules | None = None) -> None:
        if not changes and rules is None:
            return
        await self._store.save(changes, rules)
        self._rules = rules or self._rules
        before = self._instances
        self._instances = before.after(changes)
        for change in changes:
            self._log.append(change)
            if isinstance(change, Gone):
                self._leases.drop(change.instance_id)
                self._census.gone(change.instance_id)
                self._contests.forget(change.instance_id)
                self._availability.forget(change.instance_id)
                self._loads.pop((change.instance_id, change.incarnation), None)
        self._tell_watchers()
        for change in changes:
            self._tell_change(before.registrations.get(change.instance_id), change)

    def _tell_change(self, before: Registration | None, change: Change) -> None:
        """The event of a change that can be read by now."""
        if isinstance(change, Gone):
            assert before is not None
            expired = change.reason is GoneReason.EXPIRED
            how = "is gone: its lease expired" if expired else "said goodbye"
            kind = Kind.EXPIRED if expired else Kind.DEREGISTERED
            self._events.about(kind, before, f"instance {change.instance_id} {how}")
            return
        after = change.registration
        if before is None or before.incarnation != after.incarnation:
            how = "is in a crash loop" if after.instance.state is State.CRASH_LOOP else "is registered"
            self._events.about(Kind.REGISTERED, after, f"instance {change.instance_id} {how}")
        elif before.instance.state is not after.instance.state:
            self._events.about(Kind.DRAINING, after, f"instance {change.instance_id} drains")

    def _start_lease(self, registration: Registration) -> None:
        self._leases.extend(registration.instance.instance_id, self._clock.monotonic() + registration.ttl)

    def _tell_watchers(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
