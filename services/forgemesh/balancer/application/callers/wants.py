"""Plugins that callers have asked for in vain; the registry is told, so that whoever can start one does."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from forgemesh.faults import Fault

_log = logging.getLogger(__name__)

MOST = 1000
"""That wait to be told; whoever asks beyond that asks again."""


@dataclass(slots=True)
class Wants:
    """`tell` (plugin id) passes one on, `on_want` hears that there is one to pass on."""

    tell: Callable[[str], Awaitable[None]]
    on_want: Callable[[], None] = lambda: None
    _due: dict[str, None] = field(default_factory=dict)

    def add(self, plugin_id: str) -> None:
        """Somebody waits for it."""
        if len(self._due) < MOST:
            self._due[plugin_id] = None
            self.on_want()

    async def run(self) -> None:
        """Tell of all; what the registry does not hear now is said again by whoever still waits."""
        due, self._due = self._due, {}
        for plugin_id in due:
            try:
                await self.tell(plugin_id)
            except Fault as fault:
                _log.info("cannot say that %s is wanted: %s", plugin_id, fault.message)
                return
