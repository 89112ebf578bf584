"""Ends a service whose event loop does not turn any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.heartbeat import TELL_WHERE, Heartbeat
from forgemesh.chassis.logs import JsonFormatter
from forgemesh.chassis.waking_clock import WakingClock
from forgemesh.cli.mesh.process import ServiceProcess

LEAST = 2.0
"""Seconds below which a loop that merely has much to do would be taken for one that hangs."""
STALL_LIMIT = 30.0
_LOOK = 0.5
_LAST_WORDS = 0.5
"""Seconds that a process gets to write where it stands."""


@dataclass(frozen=True, slots=True)
class Watchdog:
    """
    For processes that beat: `limit` is the seconds without a beat after which one is killed, 0 for ever. `say` tells
    people lines. The time for which this process itself stood still is nobody's silence: `clock` does not count it.
    """

    limit: float
    clock: WakingClock
    say: Callable[..., None]

    async def watch(self, running: ServiceProcess, log: Path) -> None:
        """Return once the process hung, and was killed: whoever waits for its end starts another one."""
        if not self.limit:
            return
        await self._silent(running.heartbeat)
        how = "its process is stopped" if _is_stopped(running.pid) else "it hangs"
        text = (
            f"the event loop of {running.service.name} (pid {running.pid}) has not turned for {self.limit:g} s: {how}"
        )
        self.say(f"{text}; it is killed; where it stood is in {log}")
        _note(log, f"{text}; it is killed, and said before that where it stood, if it could")
        with suppress(ProcessLookupError):
            running.process.send_signal(TELL_WHERE)
            await asyncio.sleep(_LAST_WORDS)
            running.process.kill()

    async def _silent(self, heartbeat: Heartbeat) -> None:
        beats, since = heartbeat.beats, self.clock.now()
        while self.clock.now() - since < self.limit:
            await asyncio.sleep(_LOOK)
            if heartbeat.beats != beats:
                beats, since = heartbeat.beats, self.clock.now()


def _is_stopped(pid: int) -> bool:
    """By a signal, or by a debugger."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    return False


def _note(log: Path, message: str) -> None:
    record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, message, None, None)
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(JsonFormatter("forgemesh-up").format(record) + "\n")
