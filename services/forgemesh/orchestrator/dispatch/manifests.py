"""What the manifests of plugin versions say about their operations, for the moment in which one is called."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.doubt import line_of
from forgemesh.orchestrator.workflow.definition import START_TO_CLOSE
from forgemesh.orchestrator.workflow.ports import Catalogue
from forgemesh.orchestrator.workflow.provider import OperationFacts
from forgemesh.orchestrator.workflow.timeouts import lasting
from forgemesh.routing.snapshot import Snapshot

_log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds between looks for one plugin."""
UNSAID = OperationFacts()

Operations: TypeAlias = Mapping[str, OperationFacts]


class Manifests:
    """
    What was read of manifests. A version's manifest never changes, so what is known stays; nobody waits for the rest.

    As long as a version's manifest is not known, what the registry said when the workflow was registered counts for its
    calls, and none of them is made twice at a time.
    """

    def __init__(self, catalogue: Catalogue, *, again: float = AGAIN) -> None:
        self._catalogue = catalogue
        self._again = again
        self._known: dict[str, dict[str, Operations]] = {}
        self._wanted: dict[str, set[str]] = {}
        self._due: dict[str, float] = {}
        self._failing: set[str] = set()
        self._asked = asyncio.Event()
        self._seen: dict[str, Snapshot] = {}
        self._listeners: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the plugin of which more is known."""
        self._listeners.append(listener)

    def of(self, plugin_id: str, version: str, operation: str) -> OperationFacts | None:
        """None if that is not known yet; it will be, soon."""
        found = self._known.get(plugin_id, _NO_VERSIONS).get(version)
        if found is None:
            self.ask(plugin_id, version)
            return None
        return found.get(operation, UNSAID)

    def ask(self, plugin_id: str, version: str) -> None:
        """Look this version up soon, unless it is known."""
        if version not in self._known.get(plugin_id, _NO_VERSIONS):
            self._wanted.setdefault(plugin_id, set()).add(version)
            self._asked.set()

    def shown(self, snapshot: Snapshot | None) -> None:
        """These instances are there: calls may go to them."""
        if snapshot is not None and self._seen.get(snapshot.plugin_id) is not snapshot:
            self._seen[snapshot.plugin_id] = snapshot
            for version in {endpoint.plugin_version for endpoint in snapshot.endpoints}:
                self.ask(snapshot.plugin_id, version)

    def learn(self, plugin_id: str, version: str, operations: Operations) -> None:
        """The registry has said this."""
        known = self._known.setdefault(plugin_id, {})
        if known.get(version) != operations:
            known[version] = operations
            for listener in self._listeners:
                listener(plugin_id)

    def settle(self, request: CallRequest, plugin_id: str, version: str) -> bool:
        """
        The call goes to this version: what counts for it is what that says, unless its step says so itself.

        Whether it turns out now that it must not be repeated.
        """
        said = request.said = self.of(plugin_id, version, request.target.operation)
        if said is None:
            return False
        before = request.idempotent
        if not request.vouched:
            request.idempotent = said.idempotent
        if not request.timed:
            request.timeouts = lasting(request.timeouts, said.timeout or START_TO_CLOSE)
        return request.idempotent is False and before is not False

    def settle_late(self, request: CallRequest, dispatch: Dispatch | None) -> None:
        """The call has failed where it ran: what that version says may be known by now."""
        if request.said is None and dispatch is not None:
            plugin_id = dispatch.plugin_id or request.target.plugin_id
            request.said = self.of(plugin_id, dispatch.plugin_version, request.target.operation)

    def may_hedge(self, request: CallRequest, plugin_id: str, version: str) -> bool:
        """Whether a call may be made twice at a time on instances of this version."""
        return hedges(request, self.of(plugin_id, version, request.target.operation))

    def may_repeat(self, request: CallRequest, plugin_id: str, version: str) -> bool:
        """
        Whether the call may be made by this version although earlier attempts may have had their effect.

        A version that says that it must not be repeated gets no such call. Who said that it may said so for its own
        line of versions.
        """
        operation = request.target.operation
        if all((plugin_id, version) == doubt for doubt in request.doubts):
            return True
        here = self.of(plugin_id, version, operation)
        if here is None or here.idempotent is False:
            return False
        for where, doubted in request.doubts:
            if where != plugin_id or line_of(doubted) != line_of(version):
                there = self.of(where, doubted, operation)
                if there is None or there.idempotent:
                    return False
        return True

    async def run(self) -> None:
        """Look up until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.look_up()
            if self._wanted:
                await self._pause()

    async def look_up(self) -> None:
        """What is wanted now, as far as it was not looked for a moment ago and the registry answers."""
        now = asyncio.get_running_loop().time()
        for plugin_id in [one for one in self._wanted if self._due.get(one, 0.0) <= now]:
            self._due[plugin_id] = now + self._again
            versions = self._wanted.pop(plugin_id)
            try:
                found = await self._catalogue.plugins(plugin_id)
            except Fault as fault:
                log = _log.debug if plugin_id in self._failing else _log.warning
                log("cannot look up the manifests of %s: %s", plugin_id, fault.message)
                self._failing.add(plugin_id)
                self._wanted.setdefault(plugin_id, set()).update(versions)
                continue
            self._failing.discard(plugin_id)
            said: dict[str, Operations] = dict.fromkeys(versions, _NOTHING) | dict(found or {})
            for version, operations in said.items():
                self.learn(plugin_id, version, operations)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._again):
                await asyncio.Event().wait()
        self._asked.set()


def hedges(request: CallRequest, said: OperationFacts | None) -> bool:
    """Whether a call may be made twice at a time, by what the version says of its operation (None: not known)."""
    if said is None or said.idempotent is False:
        return False
    return bool(request.idempotent if request.vouched else said.idempotent)


_NOTHING: Operations = {}
_NO_VERSIONS: Mapping[str, Operations] = {}
