"""A stock client among those who follow the feed: told that something has changed, it looks for itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from forgemesh.faults.service import ShuttingDown
from forgemesh.routing.snapshot import Snapshot


class StockFollower:
    """
    Keeps nothing but whether there is news, so that one that never reads costs no memory. `wants` says whether a
    plugin concerns the client.
    """

    def __init__(self, wants: Callable[[str], bool]) -> None:
        self._wants = wants
        self._something = asyncio.Event()
        self._closed = False

    def follows(self, plugin_id: str) -> bool:
        """Whether the client wants to hear of the plugin."""
        return self._wants(plugin_id)

    def offer(self, snapshot: Snapshot) -> None:
        """There is a newer state of a plugin."""
        if self._wants(snapshot.plugin_id):
            self._something.set()

    def offer_loads(self, plugin_id: str) -> None:
        """It counts its own calls only."""

    def nudge(self) -> None:
        """The client itself has said something."""
        self._something.set()

    def close(self) -> None:
        """End the news."""
        self._closed = True
        self._something.set()

    async def wait(self, within: float | None) -> None:
        """Return when there is something, at the latest after so many seconds; raises ShuttingDown once closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._something.wait()
        self._something.clear()
        if self._closed:
            raise ShuttingDown("balancer")
