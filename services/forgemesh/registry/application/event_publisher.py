"""Publishes everything that happens to plugins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from forgemesh.chassis.subscribers import Subscribers
from forgemesh.faults.service import ShuttingDown
from forgemesh.registry.domain.event import Event, EventLog, Kind, Reported
from forgemesh.registry.domain.instance import Registration, Revision
from forgemesh.registry.ports import Clock

WANTED_AGAIN = 1.0
"""Seconds within which the same wish is told once."""
MOST_REPORTERS = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """One step of a watch: an event, or None while nothing happens; `position` is where the watcher stands then."""

    position: Revision
    event: Event | Reported | None


class EventPublisher:
    """
    Every event once, in one order, told only after what it tells of can be read.

    `bookmark` (seconds) is how often a quiet watch says that it is alive.
    """

    def __init__(self, clock: Clock, *, epoch: int, bookmark: float, remembered: int) -> None:
        self._clock = clock
        self._log = EventLog(epoch, remembered)
        self._bookmark = bookmark
        self._fresh = asyncio.Event()
        self._closed = False
        self._reporters: dict[str, int] = {}
        self._wished: dict[tuple[str, str], float] = {}
        self.on_event: Subscribers[[Event | Reported]] = Subscribers("what happens to plugins and instances")

    def tell(self, kind: Kind, message: str, **facts: object) -> None:
        """Something happened."""
        self._append(Event(kind=kind, at=self._clock.wall(), message=message, **facts))  # type: ignore[arg-type]

    def about(self, kind: Kind, registration: Registration, message: str, **facts: str) -> None:
        """Something happened to an instance."""
        instance = registration.instance
        self.tell(
            kind,
            message,
            plugin_id=instance.plugin_id,
            plugin_version=instance.plugin_version,
            instance_id=instance.instance_id,
            incarnation=registration.incarnation,
            facts=tuple(facts.items()),
        )

    def wanted(self, plugin_id: str, interface_name: str) -> None:
        """A caller waits for a plugin or an interface that nobody serves."""
        now, key = self._clock.monotonic(), (plugin_id, interface_name)
        self._wished = {wish: at for wish, at in self._wished.items() if now - at < WANTED_AGAIN}
        if key in self._wished:
            return
        self._wished[key] = now
        name = plugin_id or interface_name
        facts = () if plugin_id else (("interface_name", interface_name),)
        self.tell(Kind.WANTED, f"a caller waits for {name}", plugin_id=plugin_id, facts=facts)

    def report(self, reporter: str, first: int, events: Sequence[Reported]) -> None:
        """What a reporter saw; `first` is the number of the first in its own count. What is known is passed over."""
        last = self._reporters.pop(reporter, 0)
        for number, event in enumerate(events, start=first):
            if number > last:
                last = number
                self._append(event)
        self._reporters[reporter] = last
        while len(self._reporters) > MOST_REPORTERS:
            del self._reporters[next(iter(self._reporters))]

    async def watch(self, resume_after: Revision | None, plugin_id: str) -> AsyncGenerator[Told, None]:
        """From now on, or from a position; raises RevisionCompacted, also to the slow, and ShuttingDown at the end."""
        seen = self._log.position if resume_after is None else resume_after
        self._log.after(seen)
        yield Told(seen, None)
        while not self._closed:
            fresh = self._fresh
            found = self._log.after(seen)
            for position, event in found:
                seen = position
                if plugin_id in ("", event.plugin_id):
                    yield Told(position, event)
            if not found:
                try:
                    async with asyncio.timeout(self._bookmark):
                        await fresh.wait()
                except TimeoutError:
                    yield Told(seen, None)
        raise ShuttingDown("registry")

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._wake()

    def _append(self, event: Event | Reported) -> None:
        self._log.append(event)
        self._wake()
        self.on_event.tell(event)

    def _wake(self) -> None:
        self._fresh.set()
        self._fresh = asyncio.Event()
