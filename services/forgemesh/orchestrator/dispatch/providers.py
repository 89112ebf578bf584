"""Who provides which interface, as the registry last said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from forgemesh.chassis.tasks import beside
from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.manifests import Manifests
from forgemesh.orchestrator.workflow.ports import Catalogue
from forgemesh.orchestrator.workflow.provider import Provider

_log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds after which an interface that somebody calls is looked up again: nothing tells of new manifests."""


class Providers:
    """
    What is known of every interface that was ever asked for. Nobody waits for the registry: what it says counts from
    the moment in which it has said it, and as long as it says nothing, what it said last.

    `version` changes whenever something that is known does; `manifests` is what plugin versions say of themselves.
    """

    def __init__(self, catalogue: Catalogue, *, period: float = PERIOD) -> None:
        self._catalogue = catalogue
        self._period = period
        self._known: dict[str, Sequence[Provider] | None] = {}
        self._asked = asyncio.Event()
        self._listeners: list[Callable[[str], None]] = []
        self.manifests = Manifests(catalogue)
        self.version = 0

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the interface whose providers have changed."""
        self._listeners.append(listener)

    def of(self, interface: str) -> Sequence[Provider] | None:
        """None as long as it is not known."""
        return self._known.get(interface)

    def ask(self, interface: str) -> None:
        """Look it up soon, and every now and then from now on."""
        self._known.setdefault(interface, None)
        self._asked.set()

    async def run(self) -> None:
        """Look up until cancelled, one round after the other, and manifests as they are wanted."""
        async with beside(self.manifests.run()):
            while True:
                await self._pause()
                await self._look_up()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._period):
                await self._asked.wait()
        self._asked.clear()

    async def _look_up(self) -> None:
        try:
            found = await self._catalogue.providers(list(self._known))
        except Fault as fault:
            _log.warning("cannot look up who provides %s: %s", ", ".join(self._known), fault.message)
            return
        for interface, providers in found.items():
            if providers != self._known[interface]:
                self._known[interface] = providers
                for one in providers:
                    self.manifests.learn(one.plugin_id, one.plugin_version, one.operations)
                self.version += 1
                for listener in self._listeners:
                    listener(interface)
