"""Snapshots from the balancer's feed, and a link to every instance in them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from typing import TypeAlias

from forgemesh.chassis.containment import contained
from forgemesh.chassis.tasks import watched
from forgemesh.orchestrator.dispatch.session.endings import Endings
from forgemesh.orchestrator.dispatch.session.link import SessionLink
from forgemesh.routing.endpoint import Admission, Endpoint, Health
from forgemesh.routing.snapshot import Revision, Snapshot

_log = logging.getLogger(__name__)

Breach: TypeAlias = Callable[[str, Endpoint, str], None]

REOPEN = 1.0
"""Seconds after which a link that broke off by a fault of ours is opened again."""


class FeedHosts:
    """
    See ports.Hosts. Fail static: a lost feed changes nothing, a lost session takes its instance out at once. An
    instance that is not named any more although it was sound may end what it has.

    A new subscription names every plugin before its first heartbeat; of those that it does not name only the instances
    are kept to which the link still stands. `on_breach` is told the plugin, the instance and what it did against the
    protocol.
    """

    def __init__(self, caller_id: str, on_breach: Breach) -> None:
        self._caller_id = caller_id
        self._snapshots: dict[str, Snapshot] = {}
        self._links: dict[tuple[str, int], tuple[SessionLink, asyncio.Task[None]]] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._by_plugin: dict[str, dict[str, SessionLink]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._named: set[str] | None = set()
        self._on_breach = on_breach
        self.endings = Endings()
        self._amended: set[str] = set()
        self._closed = False
        self.synced = asyncio.Event()

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        return self._snapshots.get(plugin_id)

    def snapshots(self) -> Collection[Snapshot]:
        """Of all plugins."""
        return self._snapshots.values()

    def links(self, plugin_id: str) -> Mapping[str, SessionLink]:
        return self._by_plugin.get(plugin_id, {})

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def take(self, snapshot: Snapshot) -> bool:
        """A snapshot has come; whether it is newer than what was known."""
        self.named(snapshot.plugin_id)
        known = self._snapshots.get(snapshot.plugin_id)
        again = known is not None and snapshot.revision == known.revision and snapshot.plugin_id in self._amended
        if known is not None and snapshot.revision <= known.revision and not again:
            return False
        self._amended.discard(snapshot.plugin_id)
        self._replace(snapshot)
        return True

    def amend(self, plugin_id: str, endpoint: Endpoint) -> None:
        """Something else is known of one endpoint of the plugin, until the balancer speaks of it again."""
        known = self._snapshots[plugin_id]
        endpoints = tuple(endpoint if one.instance_id == endpoint.instance_id else one for one in known.endpoints)
        self._amended.add(plugin_id)
        self._replace(Snapshot(plugin_id, known.revision, known.policy, endpoints))

    def gone(self, plugin_id: str, revision: Revision) -> None:
        """No instance of the plugin is left."""
        known = self._snapshots.get(plugin_id)
        if known is not None and revision > known.revision:
            self._replace(Snapshot(plugin_id, revision, known.policy, ()))

    def named(self, plugin_id: str) -> None:
        """The balancer knows of the plugin."""
        if self._named is not None:
            self._named.add(plugin_id)

    def begin_again(self) -> None:
        """The feed is lost; the next one will name every plugin."""
        self._named = set()

    def all_named(self) -> None:
        """The feed has told everything that it knows."""
        if self._named is not None:
            for plugin_id, known in list(self._snapshots.items()):
                links = self._by_plugin[plugin_id]
                usable = {instance_id for instance_id, link in links.items() if link.usable}
                standing = tuple(endpoint for endpoint in known.endpoints if endpoint.instance_id in usable)
                if plugin_id not in self._named and standing != known.endpoints:
                    self._replace(Snapshot(plugin_id, known.revision, known.policy, standing))
            self._named = None
        self.synced.set()

    async def close(self) -> None:
        """Break every link."""
        self._closed = True
        self.endings.close()
        tasks = [*self._retired, *(task for _, task in self._links.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _replace(self, snapshot: Snapshot) -> None:
        known = self._snapshots.get(snapshot.plugin_id)
        self._snapshots[snapshot.plugin_id] = snapshot
        wanted = {
            (endpoint.instance_id, endpoint.incarnation): endpoint
            for endpoint in snapshot.endpoints
            if endpoint.admission is not Admission.CRASH_LOOP  # nobody is there
        }
        for key, endpoint in wanted.items():
            if key not in self._links:
                self._open(key, endpoint, snapshot.plugin_id)
        self._by_plugin[snapshot.plugin_id] = {key[0]: self._links[key][0] for key in wanted}
        for endpoint in known.endpoints if known is not None else ():
            key = (endpoint.instance_id, endpoint.incarnation)
            if key in self._links and key not in wanted:
                self._close(key, sound=endpoint.health is Health.SERVING)
        self._tell(snapshot.plugin_id)

    def _open(self, key: tuple[str, int], endpoint: Endpoint, plugin_id: str) -> None:
        link = SessionLink(
            endpoint,
            self._caller_id,
            lambda: self._tell(plugin_id),
            plugin_id=plugin_id,
            on_breach=partial(self._breached, plugin_id, key),
            endings=self.endings,
        )
        over = partial(self._ended, key, endpoint, plugin_id, link)
        self._links[key] = (link, watched(link.run(), over, name=f"link {endpoint.instance_id}"))

    def _ended(
        self, key: tuple[str, int], endpoint: Endpoint, plugin_id: str, link: SessionLink, error: Exception | None
    ) -> None:
        """A link ends only when it is told to; whatever else ended it, it is opened again."""
        if error is None:
            return
        _log.error("the link to instance %r of %r broke off", key[0], plugin_id, exc_info=error)
        asyncio.get_running_loop().call_later(REOPEN, self._open_again, key, endpoint, plugin_id, link)

    def _open_again(self, key: tuple[str, int], endpoint: Endpoint, plugin_id: str, link: SessionLink) -> None:
        if self._closed or key not in self._links or self._links[key][0] is not link:
            return
        self._open(key, endpoint, plugin_id)
        self._by_plugin[plugin_id][key[0]] = self._links[key][0]
        self._tell(plugin_id)

    def _breached(self, plugin_id: str, key: tuple[str, int], what: str) -> None:
        known = self._snapshots.get(plugin_id)
        for endpoint in known.endpoints if known is not None else ():
            if (endpoint.instance_id, endpoint.incarnation) == key:
                self._on_breach(plugin_id, endpoint, what)

    def _close(self, key: tuple[str, int], *, sound: bool) -> None:
        link, task = self._links.pop(key)
        if not sound or not link.usable:
            task.cancel()
            return
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
        link.retire(task.cancel)

    def _tell(self, plugin_id: str) -> None:
        for listener in self._listeners:
            with contained(f"what follows from the instances of {plugin_id}"):
                listener(plugin_id)


@contextlib.asynccontextmanager
async def open_hosts(caller_id: str, on_breach: Breach) -> AsyncIterator[FeedHosts]:
    """Hosts whose links stand while the block runs."""
    hosts = FeedHosts(caller_id, on_breach)
    try:
        yield hosts
    finally:
        await hosts.close()
