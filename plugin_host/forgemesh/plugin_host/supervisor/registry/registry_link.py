"""The registry, as a supervisor uses it: what serves elsewhere, what is wanted, and what it is told."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from functools import partial

import grpc

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.containment import contained
from forgemesh.chassis.resumable import follow
from forgemesh.chassis.tasks import lasting, watched
from forgemesh.faults import Fault
from forgemesh.faults.registry import RevisionCompacted
from forgemesh.plugin_host.registration.identity import Identity
from forgemesh.plugin_host.registration.registration import Registration
from forgemesh.plugin_host.scope import task_scope
from forgemesh.plugin_host.supervisor.hosts.codec import event_message, offer_of
from forgemesh.plugin_host.supervisor.hosts.host import State
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import LifecycleEvent
from forgemesh.plugin_host.supervisor.needs.loading import Offer

_log = logging.getLogger(__name__)

SILENCE = 10.0
CALL_DEADLINE = 5.0
MOST_EVENTS = 1000
"""Events that wait for a registry that is away; more push out the oldest."""
BATCH = 100
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
STAND_IN_TTL = 15.0


class RegistryLink:
    """
    Follows the registry at the other end of `channel` and keeps what it said last while it is away.

    `on_change` is told that other things serve elsewhere, `on_wanted` that somebody waits for a plugin or an interface
    (the one that is not meant is empty). `address` stands for instances that no process serves.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._registry = RegistryServiceStub(channel)
        self.address = ""
        self.on_change: Callable[[], None] = _nothing
        self.on_wanted: Callable[[str, str], None] = _nobody
        self.there = False
        self._instances: dict[str, instance_pb2.Instance] | None = None
        self._revision: instance_pb2.Revision | None = None
        self._position: instance_pb2.Revision | None = None
        self._offers: dict[tuple[str, str], Offer] = {}
        self._reporter = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._first = 1
        self._events: deque[event_pb2.Event] = deque()
        self._to_publish: dict[tuple[str, str], pb.PublishManifestRequest] = {}
        self._to_say = asyncio.Event()
        self._stand_ins: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with task_scope() as tasks:
                tasks.create_task(lasting("the watch of instances", self._watch_instances))
                tasks.create_task(lasting("the watch of events", self._watch_events))
                tasks.create_task(lasting("reports to the registry", self._say))
        finally:
            for standing in self._stand_ins.values():
                standing.cancel()
            await asyncio.gather(*self._stand_ins.values(), return_exceptions=True)

    def offers(self, own: Callable[[str], bool]) -> Sequence[Offer] | None:
        """What serves elsewhere; None until the registry has said so for the first time."""
        if self._instances is None:
            return None
        active = (
            one
            for one in self._instances.values()
            if one.state == instance_pb2.INSTANCE_STATE_ACTIVE and not own(one.instance_id)
        )
        return [
            self._offers.get(key, Offer(plugin_id=one.plugin_id, version=one.plugin_version))
            for one in active
            for key in ((one.plugin_id, one.plugin_version),)
        ]

    def report(self, event: LifecycleEvent) -> None:
        """Tell it, as soon as it is there."""
        self._events.append(event_message(event, f"supervisor {socket.gethostname()}"))
        if len(self._events) > MOST_EVENTS:
            self._events.popleft()
            self._first += 1
        self._to_say.set()

    def publish(self, manifest: manifest_pb2.Manifest, owner_key: str = "") -> None:
        """Put a plugin that does not run into the catalogue, as soon as the registry is there."""
        self._to_publish[manifest.plugin_id, manifest.version] = pb.PublishManifestRequest(
            manifest=manifest, owner_key=owner_key
        )
        self._to_say.set()

    def stand_in(self, runner: HostRunner, manifest: manifest_pb2.Manifest | None) -> None:
        """Keep an instance that is in CRASH_LOOP registered, with the reason, and no longer than that."""
        standing = self._stand_ins.pop(runner.instance_id, None)
        if standing is not None:
            standing.cancel()
        if runner.host.state is State.CRASH_LOOP and manifest is not None:
            self._stand_ins[runner.instance_id] = watched(
                lasting(f"the place of {runner.instance_id}", partial(self._stand_in, runner, manifest))
            )

    async def _stand_in(self, runner: HostRunner, manifest: manifest_pb2.Manifest) -> None:
        instance = instance_pb2.Instance(
            instance_id=runner.instance_id,
            plugin_id=manifest.plugin_id,
            plugin_version=manifest.version,
            address=self.address,
            labels={"host": socket.gethostname(), "name": runner.plan.name, "tenure": runner.tenure},
            state=instance_pb2.INSTANCE_STATE_CRASH_LOOP,
            state_reason=runner.host.reason[:500],
        )
        registration = Registration(
            self._channel,
            manifest,
            instance,
            Identity(runner.instance_id),
            owner_token=runner.owner_token,
            ttl=STAND_IN_TTL,
            owner_key=runner.plan.owner_key(),
        )
        try:
            await registration.run()
        finally:
            await registration.end()

    async def _watch_instances(self) -> None:
        def open_stream() -> AsyncIterable[pb.WatchInstancesResponse]:
            return self._registry.WatchInstances(pb.WatchInstancesRequest(resume_after=self._revision))

        async for step in follow(
            "the registry's instances",
            open_stream,
            silence=SILENCE,
            on_break=self._away,
            on_refusal=self._forget_revision,
        ):
            self.there = True
            await self._take(step)
            self._revision = step.revision

    async def _take(self, step: pb.WatchInstancesResponse) -> None:
        match step.WhichOneof("kind"):
            case "all":
                for instance in step.all.instances:
                    await self._learn(instance)
                self._instances = {one.instance_id: one for one in step.all.instances}
            case "changed" if self._instances is not None:
                await self._learn(step.changed)
                self._instances[step.changed.instance_id] = step.changed
            case "gone" if self._instances is not None:
                self._instances.pop(step.gone.instance_id, None)
            case _:
                return
        self.on_change()

    async def _learn(self, instance: instance_pb2.Instance) -> None:
        """Which interfaces its plugin provides; known for good, as a plugin version is published once."""
        if (instance.plugin_id, instance.plugin_version) in self._offers:
            return
        request = pb.ListPluginsRequest(plugin_id=instance.plugin_id, page_size=500)
        try:
            response = await self._registry.ListPlugins(request, timeout=CALL_DEADLINE)
        except grpc.aio.AioRpcError as error:
            _log.debug("cannot read the manifests of %s: %s", instance.plugin_id, error.details())
            return
        for manifest in response.manifests:
            self._offers[manifest.plugin_id, manifest.version] = offer_of(manifest)

    def _away(self) -> None:
        self.there = False

    def _forget_revision(self, fault: Fault) -> None:
        if isinstance(fault, RevisionCompacted):
            self._revision = None

    async def _watch_events(self) -> None:
        def open_stream() -> AsyncIterable[pb.WatchEventsResponse]:
            return self._registry.WatchEvents(pb.WatchEventsRequest(resume_after=self._position))

        def forget(fault: Fault) -> None:
            if isinstance(fault, RevisionCompacted):
                self._position = None

        async for step in follow("the registry's events", open_stream, silence=SILENCE, on_refusal=forget):
            self._position = step.position
            if step.event.kind == event_pb2.EVENT_KIND_WANTED:
                facts = step.event.facts
                interface = facts.get("interface_name") or facts.get("interface", "")
                with contained(f"the wish for {step.event.plugin_id or interface}"):
                    self.on_wanted(step.event.plugin_id, interface)

    async def _say(self) -> None:
        """Manifests first: an event may be about one."""
        failures = 0
        while True:
            await self._to_say.wait()
            try:
                await self._say_all()
                failures = 0
            except grpc.aio.AioRpcError as error:
                failures += 1
                _log.debug("the registry does not take what happened: %s", error.details())
                await asyncio.sleep(drawn_pause(failures, first=FIRST_PAUSE, most=LONGEST_PAUSE))

    async def _say_all(self) -> None:
        self._to_say.clear()
        try:
            while self._to_publish:
                key, publication = next(iter(self._to_publish.items()))
                await self._publish(publication)
                self._to_publish.pop(key, None)
            while self._events:
                batch = list(itertools.islice(self._events, BATCH))
                request = pb.ReportEventsRequest(reporter_id=self._reporter, first=self._first, events=batch)
                last = self._first + len(batch)
                await self._registry.ReportEvents(request, timeout=CALL_DEADLINE)
                while self._events and self._first < last:
                    self._events.popleft()
                    self._first += 1
        except grpc.aio.AioRpcError:
            self._to_say.set()
            raise

    async def _publish(self, request: pb.PublishManifestRequest) -> None:
        try:
            await self._registry.PublishManifest(request, timeout=CALL_DEADLINE)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            _log.warning("the registry refuses the manifest of %s: %s", request.manifest.plugin_id, error.details())


def _nothing() -> None:
    """Nobody has asked."""


def _nobody(plugin_id: str, interface_name: str) -> None:
    """Nobody has asked."""


class NoRegistry:
    """A supervisor that is told of no registry: nothing serves elsewhere, and nobody is told anything."""

    there = True
    address = ""
    on_change: Callable[[], None]
    on_wanted: Callable[[str, str], None]

    async def run(self) -> None:
        """Nothing to do, until cancelled."""
        await asyncio.Event().wait()

    def offers(self, own: Callable[[str], bool]) -> Sequence[Offer]:
        """Nothing."""
        return ()

    def report(self, event: LifecycleEvent) -> None:
        """To nobody."""

    def publish(self, manifest: manifest_pb2.Manifest, owner_key: str = "") -> None:
        """Nowhere."""

    def stand_in(self, runner: HostRunner, manifest: manifest_pb2.Manifest | None) -> None:
        """Nowhere."""
