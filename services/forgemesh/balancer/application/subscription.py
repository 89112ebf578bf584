"""One subscriber of the feed: what it is sent, and what it has taken on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.balancer.domain.mailbox import Mailbox
from forgemesh.faults.service import ShuttingDown
from forgemesh.routing.snapshot import Revision, Snapshot

NOTHING = Revision(0, 0)


@dataclass(frozen=True, slots=True)
class Beat:
    """The balancer is alive and has sent everything it knows."""


News: TypeAlias = Snapshot | Beat


class Subscription:
    """Snapshots as they change, and a beat every `heartbeat` seconds, first after the initial snapshots."""

    def __init__(
        self, subscriber: str, snapshots: Iterable[Snapshot], *, heartbeat: float, clock: Callable[[], float]
    ) -> None:
        self.subscriber = subscriber
        self.taken: dict[str, Revision] = {}
        self._mailbox = Mailbox()
        self._heartbeat = heartbeat
        self._clock = clock
        self._something = asyncio.Event()
        self._closed = False
        for snapshot in snapshots:
            self.offer(snapshot)

    def offer(self, snapshot: Snapshot) -> None:
        """Send it next, unless a newer one of the same plugin comes first."""
        self._mailbox.put(snapshot)
        self.taken.setdefault(snapshot.plugin_id, NOTHING)
        self._something.set()

    def acknowledge(self, plugin_id: str, revision: Revision) -> None:
        """The subscriber has taken on this state of the plugin; ignored if it was never sent one."""
        if plugin_id in self.taken:
            self.taken[plugin_id] = max(revision, self.taken[plugin_id])

    def close(self) -> None:
        """End the news."""
        self._closed = True
        self._something.set()

    async def news(self) -> AsyncGenerator[News, None]:
        """Until closed, which raises ShuttingDown."""
        next_beat = self._clock()
        while not self._closed:
            self._something.clear()
            for _ in range(len(self._mailbox)):
                yield self._mailbox.take()
            now = self._clock()
            if now >= next_beat:
                next_beat = now + self._heartbeat
                yield Beat()
            if self._mailbox:
                continue
            try:
                async with asyncio.timeout(next_beat - self._clock()):
                    await self._something.wait()
            except TimeoutError:
                pass
        raise ShuttingDown("balancer")
