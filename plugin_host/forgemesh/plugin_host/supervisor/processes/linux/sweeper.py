"""Ends what hosts have started and left behind."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from forgemesh.plugin_host.supervisor.processes.linux.process_table import Kin, end_kin

_log = logging.getLogger(__name__)


class Sweeper:
    """One look at the processes of the machine serves all who wait for one: a thousand hosts may end at a time."""

    def __init__(self) -> None:
        self._due: list[Kin] = []
        self._turn = asyncio.Lock()

    async def sweep(self, kin: Kin) -> None:
        """Return when nothing is left that belongs to it; what cannot be ended is named in the log."""
        self._due.append(kin)
        async with self._turn:
            if kin not in self._due:  # another look was for this one too
                return
            batch, self._due = self._due, []
            try:
                left = await asyncio.to_thread(end_kin, batch)
            except OSError as error:
                _log.warning("cannot look for what hosts have left behind: %s", error)
                return
        if left:
            named = ", ".join(str(one.pid) for one in left[:10])
            _log.warning("%d processes that a host has started do not end: %s; end them yourself", len(left), named)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What becomes of what a process leaves behind; with `spare_detached` all outside of its session is let alone."""

    sweeper: Sweeper
    spare_detached: bool = False

    def kin(self, pid: int, mark: int, listed: Path | None) -> Kin:
        """What ends with a process that leads a session and carries `mark`; `listed` is its cgroup's list."""
        return Kin(mark, session=pid) if self.spare_detached else Kin(mark, listed=listed)
