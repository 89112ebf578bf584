"""What a process that ends at once tells the callers that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable, Set as AbstractSet

from forgemesh.plugin_host.host.calls.codec import cut


class Farewell:
    """
    `reason` is empty until it is said. `listeners` are who is to hear it; each has to say once that it has `left` for
    them, and `wake` makes them look.
    """

    def __init__(self, listeners: Callable[[], AbstractSet[Hashable]], wake: Callable[[], None]) -> None:
        self.reason = ""
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._wake = wake
        self._waiting: set[Hashable] = set()
        self._told = threading.Event()

    def say(self, reason: str) -> threading.Event:
        """From any thread, returns at once; what is set once it has left, which is never if the loop stands still."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._begin, cut(reason))
        return self._told

    def left(self, listener: Hashable) -> None:
        """It is on its way to this one, or that one hears nothing any more."""
        self._waiting.discard(listener)
        if self.reason and not self._waiting:
            self._told.set()

    def _begin(self, reason: str) -> None:
        self.reason, self._waiting = reason, set(self._listeners())
        self._wake()
        self.left(None)
