"""The stream of everything that happens to circuits, health, load and policies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from forgemesh.balancer.domain.event_log import EventLog, Position, RecordedEvent
from forgemesh.balancer.domain.events import Author, Change, Event
from forgemesh.chassis.subscribers import Subscribers
from forgemesh.faults.routing import BalancerWarming
from forgemesh.faults.service import ShuttingDown

KEPT = 10_000
"""The newest events from which a watcher can go on."""
_AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class Watched:
    """Whose events are told; empty is everybody's. `history_only`: the watch ends once it has told what is kept."""

    plugin_id: str = ""
    instance_id: str = ""
    history_only: bool = False

    def holds(self, event: Event) -> bool:
        """Whether the watcher wants to know of the event; one of a whole plugin concerns each instance."""
        if self.plugin_id not in ("", event.plugin_id):
            return False
        return not event.instance_id or self.instance_id in ("", event.instance_id)


@dataclass(frozen=True, slots=True)
class Told:
    """One step of a watch: an event, or None if everything up to `position` is told and nothing happens."""

    position: Position
    entry: RecordedEvent | None


class Events:
    """
    Every event once, in one order; whoever publishes makes sure that what it tells of can be read by then.

    `wall` gives seconds since 1970, `clock` monotonic ones. A quiet watch says every `heartbeat` seconds that it is
    alive. Nothing here waits for a watcher.
    """

    def __init__(
        self, wall: Callable[[], float], clock: Callable[[], float], *, heartbeat: float, kept: int = KEPT
    ) -> None:
        self._wall = wall
        self._clock = clock
        self._heartbeat = heartbeat
        self._kept = kept
        self._log = EventLog(0, kept)
        self._fresh = asyncio.Event()
        self._closed = False
        self.on_event: Subscribers[[Event]] = Subscribers("what happens to circuits and instances")

    def begin(self, epoch: int) -> None:
        """Take the epoch; comes before everything that is published."""
        self._log = EventLog(epoch, self._kept)
        self._wake()

    def publish(
        self,
        change: Change,
        *,
        plugin_id: str,
        instance_id: str = "",
        incarnation: int = 0,
        author: Author | None = None,
    ) -> None:
        """Something happened; see Event."""
        event = Event(
            plugin_id=plugin_id, instance_id=instance_id, incarnation=incarnation, author=author, change=change
        )
        self._log.append(event, self._wall())
        self._wake()
        self.on_event.tell(event)

    async def watch(self, resume_after: Position | None, watched: Watched) -> AsyncGenerator[Told, None]:
        """
        From a position or, if that is None, from the oldest event that is kept.

        Raises BalancerWarming before the epoch is known, EventsCompacted, also to the slow, and ShuttingDown at the
        end.
        """
        if self._log.last.epoch == 0:
            raise BalancerWarming
        seen = self._log.start if resume_after is None else resume_after
        next_beat = self._clock()
        while not self._closed:
            fresh = self._fresh
            found = self._log.after(seen, _AT_A_TIME)
            for entry in found:
                seen = entry.position
                if watched.holds(entry.event):
                    yield Told(seen, entry)
            if watched.history_only:
                if not found:
                    yield Told(seen, None)
                    return
            elif self._clock() >= next_beat:
                next_beat = self._clock() + self._heartbeat
                yield Told(seen, None)
            elif not found:
                await _quiet(fresh, next_beat - self._clock())
        raise ShuttingDown("balancer")

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._fresh.set()
        self._fresh = asyncio.Event()


async def _quiet(fresh: asyncio.Event, seconds: float) -> None:
    """Until something happens, but not longer than that."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await fresh.wait()
