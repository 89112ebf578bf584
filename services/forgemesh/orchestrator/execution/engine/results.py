"""Outputs of earlier calls that later ones may take instead of calling."""

from __future__ import annotations

import logging
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import TypeAlias

from forgemesh.chassis.tasks import watched
from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.ports import Answer, Hosts
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution.cache_key import LENGTH
from forgemesh.orchestrator.execution.ports.results import KeptResult, ResultStore
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target
from forgemesh.orchestrator.workflow.provider import Choice, fits, ranked
from forgemesh.routing.endpoint import Endpoint

_log = logging.getLogger(__name__)

Found: TypeAlias = Callable[[tuple[Dispatch, Answer] | None], None]


class Results:
    """
    A kept output counts only while a call could go to the provider that gave it: an instance of that plugin, in that
    version and with that manifest, is there, the target takes it, and nobody whom the target prefers to it is there.
    """

    def __init__(self, store: ResultStore, hosts: Hosts, providers: Providers, clock: Callable[[], int]) -> None:
        self._store = store
        self._hosts = hosts
        self._providers = providers
        self._clock = clock
        self._work: set[Task[None]] = set()

    def look_up(self, key: str, target: Target, found: Found) -> None:
        """Tell `found` later what is kept under `key` (see cache_key.py) and counts, or None."""
        self._begin(self._find(key, target, found), lambda: found(None))

    def keep(self, key: str, plugin_id: str, where: Dispatch, output: Payload, expires_at: int) -> None:
        """Keep what the instance of a plugin has answered until then (Unix nanoseconds), if it is still there."""
        gave = next((one for one in self._endpoints(plugin_id) if _is_at(one, where)), None)
        if gave is not None and len(key) == LENGTH:
            kept = KeptResult(plugin_id, gave.plugin_version, gave.manifest_digest, output)
            self._begin(self._keep(key, kept, expires_at))

    def _begin(self, work: Coroutine[None, None, None], failed: Callable[[], None] = lambda: None) -> None:
        def over(error: Exception | None) -> None:
            self._work.discard(task)
            if error is not None:
                _log.error("a kept result cannot be read or kept; this is a bug", exc_info=error)
                failed()

        task = watched(work, over)
        self._work.add(task)

    async def _find(self, key: str, target: Target, found: Found) -> None:
        kept: list[KeptResult] = []
        try:
            if len(key) == LENGTH:
                kept = await self._store.cached(bytes.fromhex(key), self._clock())
        except Fault as fault:
            _log.warning("a kept result cannot be read, calling instead: %s", fault)
        counts = self._counting(kept, target) if kept else None
        if counts is None:
            found(None)
            return
        dispatch = Dispatch(
            instance_id="",
            incarnation=0,
            plugin_version=counts.plugin_version,
            plugin_id="" if target.plugin_id else counts.plugin_id,
            at=self._clock(),
            policy="cache",
            cached=True,
        )
        found((dispatch, Answer(counts.output, None)))

    def _counting(self, kept: Iterable[KeptResult], target: Target) -> KeptResult | None:
        """The newest of those whose providers are there and preferred to all others that are."""
        for tier in self._tiers(target):
            there = {
                (choice.plugin_id, endpoint.plugin_version, endpoint.manifest_digest)
                for choice in tier
                for endpoint in self._endpoints(choice.plugin_id)
                if endpoint.plugin_version in choice.versions
            }
            if there:
                return next((one for one in kept if _provider(one) in there), None)
        return None

    def _tiers(self, target: Target) -> Iterator[tuple[Choice, ...]]:
        if not target.plugin_id:
            yield from ranked(self._providers.of(target.interface) or (), target)
            return
        versions = {one.plugin_version for one in self._endpoints(target.plugin_id)}
        yield (Choice(target.plugin_id, frozenset(one for one in versions if fits(one, target.version_range))),)

    def _endpoints(self, plugin_id: str) -> tuple[Endpoint, ...]:
        snapshot = self._hosts.snapshot(plugin_id)
        return snapshot.endpoints if snapshot is not None else ()

    async def _keep(self, key: str, kept: KeptResult, expires_at: int) -> None:
        try:
            await self._store.keep_result(bytes.fromhex(key), kept, expires_at)
        except Fault as fault:
            _log.warning("a result cannot be kept: %s", fault)


def _provider(kept: KeptResult) -> tuple[str, str, str]:
    return kept.plugin_id, kept.plugin_version, kept.manifest_digest


def _is_at(endpoint: Endpoint, where: Dispatch) -> bool:
    return (endpoint.instance_id, endpoint.incarnation) == (where.instance_id, where.incarnation)
