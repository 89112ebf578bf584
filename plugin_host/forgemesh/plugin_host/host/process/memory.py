"""The bounds of this process, and its end when it has used up its memory."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from forgemesh.chassis.process import EXIT_OUT_OF_MEMORY
from forgemesh.chassis.threads import start_thread
from forgemesh.plugin_host.host.process.load import resident_bytes, unreclaimable_bytes

LOOK = 0.1
"""Seconds between two looks at what is used, as long as there is room."""
HASTY_LOOK = 0.01
FASTEST = 2e9
"""Bytes a second that a process takes at most: it is looked at again before it can have used up its room."""
SPARE = (16 << 20, 128 << 20)
"""Bytes of a container's limit that a host leaves at least, and at most; between them it is an eighth."""
LAST_ANSWER = 0.3
"""Seconds that the answer of the call that ran out of memory has to leave the process."""
PARTING = 0.2
"""Seconds that the reason has to reach the callers, as long as the container leaves room for that."""
_THREADS = 48
"""Threads of gRPC and our own whose stacks are reserved, and hardly used; the plugin's come on top."""
_USUAL_STACK = 8 * 1024 * 1024


def bound_process(memory_bytes: int, open_files: int, operations: int = 0) -> None:
    """
    Bound this process; 0 is no bound. No core files: they hold secrets.

    What the system counts as data includes the stacks that are reserved for threads, so room for those comes on top;
    MemoryWatch holds the process to what it really uses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if open_files:
        _lower(resource.RLIMIT_NOFILE, open_files)
    if memory_bytes:
        stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
        reserved = (_THREADS + operations) * (_USUAL_STACK if stack == resource.RLIM_INFINITY else stack)
        _lower(resource.RLIMIT_DATA, memory_bytes + reserved)


def _lower(bound: int, wanted: int) -> None:
    """What was bound before this process began stays so."""
    _, hard = resource.getrlimit(bound)
    resource.setrlimit(bound, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def below_container(limit: int) -> int:
    """Bytes that a host holds itself to in a container of this limit: the kernel counts more than the process sees."""
    least, most = SPARE
    return max(limit // 2, limit - min(most, max(least, limit // 8)))


class MemoryWatch:
    """
    Ends this process, with EXIT_OUT_OF_MEMORY and the reason, once it holds more than its bound or was refused memory.

    Its thread is there from the start: without memory none could be started any more. `last_words` is told the reason
    before the end; so is `part`, which sets what it returns once the callers are told.
    """

    def __init__(self, last_words: Callable[[str], None]) -> None:
        self._last_words = last_words
        self.part: Callable[[str], threading.Event] = _said_to_nobody
        self._limit = 0
        self._container = 0
        self._used_up = threading.Event()
        self._cause = ""

    def start(self, limit: int, container: int = 0) -> None:
        """
        Watch; `limit` is what the process may hold, `container` what the kernel lets its control group hold before it
        kills, in bytes, 0 for none. The process stays below the latter with what the kernel could not take back.
        """
        self._limit = limit
        self._container = container
        start_thread("memory-watch", self._watch)

    def used_up(self, cause: str) -> None:
        """Memory was refused to this process; from any thread, returns at once."""
        self._cause = cause
        self._used_up.set()

    def note_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What an event loop is to do with exceptions that nobody catches."""
        if isinstance(context.get("exception"), MemoryError):
            self.used_up("the event loop was refused more")
        loop.default_exception_handler(context)

    def _watch(self) -> None:
        pause = LOOK if self._limit or self._container else None
        while not self._used_up.wait(pause):
            pause = min(LOOK, max(HASTY_LOOK, self._room() / FASTEST))
        time.sleep(LAST_ANSWER)
        allowed = self._limit or self._container
        self._end(f"{self._cause}, {allowed >> 20} MiB are allowed" if allowed else self._cause)

    def _room(self) -> int:
        """Bytes that are left; ends the process if there are none."""
        room = []
        if self._limit:
            used = resident_bytes()
            if used > self._limit:
                self._end(f"it holds {used >> 20} MiB, {self._limit >> 20} MiB are allowed")
            room.append(self._limit - used)
        if self._container:
            used, most = unreclaimable_bytes(), below_container(self._container)
            if used > most:
                limit = self._container >> 20
                self._end(f"it holds {used >> 20} MiB, and its container is killed at {limit} MiB", "container")
            room.append(most - used)
        return min(room)

    def _end(self, cause: str, whose: str = "plugin") -> None:
        reason = f"OOM: out of memory: {cause}; raise the {whose}'s limit, or let it hold less"
        sys.stderr.write(f"error: {reason}\n")
        sys.stderr.flush()
        try:
            parted = self.part(reason)
            self._last_words(reason)
            self._await(parted)
        finally:
            os._exit(EXIT_OUT_OF_MEMORY)

    def _await(self, parted: threading.Event) -> None:
        end = time.monotonic() + PARTING
        most = (below_container(self._container) + self._container) // 2
        while not parted.wait(HASTY_LOOK) and time.monotonic() < end:
            if self._container and unreclaimable_bytes() > most:
                return


def _said_to_nobody(reason: str) -> threading.Event:
    said = threading.Event()
    said.set()
    return said
