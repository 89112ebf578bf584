"""Snapshots from the balancer's feed, and a link to every instance in them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping

from forgemesh.api.balancer.v1 import balancer_service_pb2, balancer_service_pb2_grpc, snapshot_pb2
from forgemesh.chassis.channel import connect
from forgemesh.chassis.resumable import follow
from forgemesh.feed.snapshots import revision_from_message, snapshot_from_message
from forgemesh.orchestrator.adapters.session import SessionLink
from forgemesh.routing.endpoint import Admission, Endpoint
from forgemesh.routing.snapshot import Snapshot

_log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without a heartbeat after which the feed is opened again. Snapshots stay as they are meanwhile."""


class FeedHosts:
    """
    See ports.Hosts. Fail static: a lost feed changes nothing, a lost session takes its instance out at once.

    A new subscription names every plugin before its first heartbeat; of those that it does not name only the instances
    are kept to which the link still stands.
    """

    def __init__(self, balancer: str, caller_id: str) -> None:
        self._balancer = balancer
        self._caller_id = caller_id
        self._snapshots: dict[str, Snapshot] = {}
        self._links: dict[tuple[str, int], tuple[SessionLink, asyncio.Task[None]]] = {}
        self._by_plugin: dict[str, dict[str, SessionLink]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._named: set[str] | None = set()
        self.synced = asyncio.Event()

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        return self._snapshots.get(plugin_id)

    def links(self, plugin_id: str) -> Mapping[str, SessionLink]:
        return self._by_plugin.get(plugin_id, {})

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        try:
            async with connect(self._balancer) as channel:
                stub = balancer_service_pb2_grpc.BalancerServiceStub(channel)
                hello = balancer_service_pb2.SubscribeRequest(
                    hello=balancer_service_pb2.SubscriberHello(subscriber_id="orchestrator", boot_id=self._caller_id)
                )

                async def requests() -> AsyncIterator[balancer_service_pb2.SubscribeRequest]:
                    yield hello
                    await asyncio.Event().wait()

                feed = follow(
                    "the balancer's feed",
                    lambda: stub.Subscribe(requests()),
                    silence=SILENCE,
                    on_break=self._begin_again,
                )
                async for message in feed:
                    self._take(message)
        finally:
            for _, task in self._links.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._links.values()), return_exceptions=True)

    def _take(self, message: balancer_service_pb2.SubscribeResponse) -> None:
        kind = message.WhichOneof("kind")
        if kind == "snapshot":
            self._take_snapshot(message.snapshot)
        elif kind == "gone":
            revision = revision_from_message(message.gone.revision)
            known = self._snapshots.get(message.gone.plugin_id)
            if known is not None and revision > known.revision:
                self._replace(Snapshot(known.plugin_id, revision, known.policy, ()))
        elif kind == "heartbeat":
            self._forget_unnamed()
            self.synced.set()

    def _begin_again(self) -> None:
        self._named = set()

    def _forget_unnamed(self) -> None:
        if self._named is None:
            return
        for plugin_id, known in list(self._snapshots.items()):
            links = self._by_plugin[plugin_id]
            usable = {instance_id for instance_id, link in links.items() if link.usable}
            standing = tuple(endpoint for endpoint in known.endpoints if endpoint.instance_id in usable)
            if plugin_id not in self._named and standing != known.endpoints:
                self._replace(Snapshot(plugin_id, known.revision, known.policy, standing))
        self._named = None

    def _take_snapshot(self, message: snapshot_pb2.PluginSnapshot) -> None:
        snapshot = snapshot_from_message(message, time.monotonic())
        if self._named is not None:
            self._named.add(snapshot.plugin_id)
        known = self._snapshots.get(snapshot.plugin_id)
        if known is None or snapshot.revision > known.revision:
            self._replace(snapshot)

    def _replace(self, snapshot: Snapshot) -> None:
        known = self._snapshots.get(snapshot.plugin_id)
        self._snapshots[snapshot.plugin_id] = snapshot
        wanted = {
            (endpoint.instance_id, endpoint.incarnation): endpoint
            for endpoint in snapshot.endpoints
            if endpoint.admission is not Admission.CRASH_LOOP  # nobody is there
        }
        for endpoint in known.endpoints if known is not None else ():
            key = (endpoint.instance_id, endpoint.incarnation)
            if key in self._links and key not in wanted:
                self._close(key)
        for key, endpoint in wanted.items():
            if key not in self._links:
                self._open(key, endpoint, snapshot.plugin_id)
        self._by_plugin[snapshot.plugin_id] = {key[0]: self._links[key][0] for key in wanted}
        self._tell(snapshot.plugin_id)

    def _open(self, key: tuple[str, int], endpoint: Endpoint, plugin_id: str) -> None:
        link = SessionLink(endpoint, self._caller_id, lambda: self._tell(plugin_id))
        self._links[key] = (link, asyncio.create_task(link.run(), name=f"link {endpoint.instance_id}"))

    def _close(self, key: tuple[str, int]) -> None:
        _, task = self._links.pop(key)
        task.cancel()

    def _tell(self, plugin_id: str) -> None:
        for listener in self._listeners:
            listener(plugin_id)


@contextlib.asynccontextmanager
async def following_hosts(balancer: str, caller_id: str) -> AsyncIterator[FeedHosts]:
    """Hosts that follow the feed while the block runs."""
    hosts = FeedHosts(balancer, caller_id)
    task = asyncio.create_task(hosts.run(), name="feed")
    try:
        yield hosts
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
