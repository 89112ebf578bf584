"""One subscriber of the feed: what it is sent, and what it has taken on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from forgemesh.balancer.application.circuits.permits import Grant
from forgemesh.balancer.domain.caller import Caller
from forgemesh.balancer.domain.mailbox import Mailbox
from forgemesh.faults.service import ShuttingDown
from forgemesh.routing.snapshot import Revision, Snapshot

NOTHING = Revision(0, 0)
LONGEST_REASON = 512
MAX_GRANTS = 1000
"""Permits that wait for a subscriber that does not read; more are not kept, and run out."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The balancer is alive, has sent everything it knows, and has taken in the report `acknowledged`."""

    acknowledged: int


class Busy(NamedTuple):
    """How busy an instance is: calls of all callers, the subscriber's own among them, its weight by gRFC A58 or 0."""

    instance_id: str
    incarnation: int
    in_flight: int
    own: int
    weight: float


class Loads(NamedTuple):
    """How busy the instances of a plugin are."""

    plugin_id: str
    busy: tuple[Busy, ...]


Update: TypeAlias = Snapshot | Loads | Grant | Beat


class Subscription:
    """
    Snapshots and permits as they come, loads, and a beat every `heartbeat` seconds, first after the initial snapshots.

    What a subscriber has not read is replaced by what is newer: one that never reads costs no more memory. `loads`
    says how busy the instances of a plugin are, when that is sent.
    """

    def __init__(
        self,
        caller: Caller,
        snapshots: Iterable[Snapshot],
        *,
        loads: Callable[[str, Caller], Loads],
        heartbeat: float,
        clock: Callable[[], float],
    ) -> None:
        self.caller = caller
        self.taken: dict[str, Revision] = {}
        self.refused: dict[str, tuple[Revision, str]] = {}
        self._mailbox = Mailbox()
        self._grants: list[Grant] = []
        self._busy: dict[str, None] = {}
        self._loads = loads
        self._heartbeat = heartbeat
        self._clock = clock
        self._something = asyncio.Event()
        self._closed = False
        for snapshot in snapshots:
            self.offer(snapshot)

    def follows(self, plugin_id: str) -> bool:
        """It hears of all."""
        return True

    def offer(self, snapshot: Snapshot) -> None:
        """Send it next, unless a newer one of the same plugin comes first."""
        self._mailbox.put(snapshot)
        self.taken.setdefault(snapshot.plugin_id, NOTHING)
        self._something.set()

    def offer_permit(self, grant: Grant) -> None:
        """See permits.Receiver."""
        if len(self._grants) < MAX_GRANTS:
            self._grants.append(grant)
            self._something.set()

    def offer_loads(self, plugin_id: str) -> None:
        """Send how busy its instances are when it comes to that."""
        self._busy[plugin_id] = None
        self._something.set()

    def acknowledge(self, plugin_id: str, revision: Revision) -> None:
        """The subscriber has taken on this state of the plugin; ignored if it was never sent one."""
        if plugin_id in self.taken:
            self.taken[plugin_id] = max(revision, self.taken[plugin_id])
            self.refused.pop(plugin_id, None)

    def refuse(self, plugin_id: str, revision: Revision, reason: str) -> bool:
        """
        The subscriber cannot use this state of the plugin; ignored if it was never sent one.

        Returns whether that is news: it has refused none since it took one on.
        """
        if plugin_id not in self.taken:
            return False
        is_new = plugin_id not in self.refused
        self.refused[plugin_id] = revision, reason[:LONGEST_REASON]
        return is_new

    def close(self) -> None:
        """End the news."""
        self._closed = True
        self._something.set()

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Until closed, which raises ShuttingDown."""
        next_beat = self._clock()
        while not self._closed:
            self._something.clear()
            for one in self._unsent():
                yield one
            now = self._clock()
            if now >= next_beat:
                next_beat = now + self._heartbeat
                yield Beat(self.caller.sequence)
            if self._mailbox or self._grants or self._busy:
                continue
            try:
                async with asyncio.timeout(next_beat - self._clock()):
                    await self._something.wait()
            except TimeoutError:
                pass
        raise ShuttingDown("balancer")

    def _unsent(self) -> Iterator[Update]:
        """What there is now; what comes meanwhile is for the next time."""
        for _ in range(len(self._mailbox)):
            yield self._mailbox.take()
        grants, self._grants = self._grants, []
        yield from grants
        busy, self._busy = self._busy, {}
        for plugin_id in busy:
            loads = self._loads(plugin_id, self.caller)
            if loads.busy:
                yield loads
