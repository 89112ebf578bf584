"""Tells the mesh which plugins calls wait for that nobody serves, so that whoever can start one does."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.call_request import Wanted

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Demand:
    """`wanted` says at any time what is waited for, `tell` (id or interface) passes it on; again does no harm."""

    tell: Callable[[str, str], Awaitable[None]]
    wanted: Callable[[], Collection[Wanted]]

    async def run(self) -> None:
        """Say it once; idempotent."""
        for wanted in self.wanted():
            try:
                await self.tell(*wanted)
            except Fault as fault:
                _log.info("cannot say that %s is wanted: %s", wanted.plugin_id or wanted.interface, fault.message)
                return
