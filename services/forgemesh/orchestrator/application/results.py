"""Outputs of earlier calls that later ones may take instead of calling."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from forgemesh.faults import Fault
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Target
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.ports import Answer, Hosts, Store

_log = logging.getLogger(__name__)

Found: TypeAlias = Callable[[tuple[e.Dispatch, Answer] | None], None]


class Results:
    """Kept results count only while an instance of the version that gave them is there: a new version starts afresh."""

    def __init__(self, store: Store, hosts: Hosts, clock: Callable[[], int]) -> None:
        self._store = store
        self._hosts = hosts
        self._clock = clock
        self._tasks: set[Task[None]] = set()

    def look_up(self, key: str, target: Target, found: Found) -> None:
        """Tell `found` later what is kept under `key`, or None."""
        self._begin(self._find(key, target, found))

    def keep(self, key: str, plugin_version: str, output: Payload, expires_at: int) -> None:
        """Keep an output until then (Unix nanoseconds)."""
        self._begin(self._keep(key, plugin_version, output, expires_at))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, key: str, target: Target, found: Found) -> None:
        kept = None
        try:
            kept = await self._store.cached(bytes.fromhex(key), self._clock())
        except Fault as fault:
            _log.warning("a kept result cannot be read, calling instead: %s", fault)
        if kept is None or not self._is_current(target, kept.plugin_version):
            found(None)
            return
        dispatch = e.Dispatch(
            instance_id="",
            incarnation=0,
            plugin_version=kept.plugin_version,
            at=self._clock(),
            policy="cache",
            cached=True,
        )
        found((dispatch, Answer(kept.output, None)))

    def _is_current(self, target: Target, version: str) -> bool:
        if not target.plugin_id:
            return True
        snapshot = self._hosts.snapshot(target.plugin_id)
        return snapshot is not None and any(endpoint.plugin_version == version for endpoint in snapshot.endpoints)

    async def _keep(self, key: str, plugin_version: str, output: Payload, expires_at: int) -> None:
        try:
            await self._store.keep_result(bytes.fromhex(key), plugin_version, output, expires_at)
        except Fault as fault:
            _log.warning("a result cannot be kept: %s", fault)
