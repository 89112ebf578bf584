"""The heartbeat of an event loop, written by the loop itself, for whoever watches over its process from outside."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import itertools
import os
import signal
import sys
import weakref
from collections.abc import Iterator

HEARTBEAT_FD = "FORGEMESH_HEARTBEAT_FD"
"""Names an inherited file of 8 bytes, in which the event loop counts its turns."""
BEAT = 0.5
"""Seconds between two beats."""
TELL_WHERE = signal.SIGUSR2
"""Makes a process that has a heartbeat write to stderr where each of its threads stands, also if one holds all up."""

_BYTES = 8


class Heartbeat:
    """
    The file, for whoever starts the process: it inherits `descriptor`.

    No lock is needed to read it, nor anything of the process that writes it, so that it tells of a loop that hangs in
    Python, of one that hangs in C and keeps the interpreter's lock, and of a process that is stopped.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("heartbeat", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, _BYTES)

    @property
    def beats(self) -> int:
        """How often the loop has said that it turns."""
        return int.from_bytes(os.pread(self.descriptor, _BYTES, 0), sys.byteorder)


@contextlib.contextmanager
def beating() -> Iterator[None]:
    """Let the running loop beat while the block runs, if whoever has started this process asked for it."""
    inherited = os.environ.pop(HEARTBEAT_FD, None)
    if inherited is None:
        yield
        return
    descriptor, loop, turns = int(inherited), asyncio.get_running_loop(), itertools.count(1)
    os.set_inheritable(descriptor, False)
    faulthandler.register(TELL_WHERE, all_threads=True)

    def beat() -> None:
        os.pwrite(descriptor, next(turns).to_bytes(_BYTES, sys.byteorder), 0)
        timers[0] = loop.call_later(BEAT, beat)

    timers: list[asyncio.Handle] = [loop.call_soon(beat)]
    try:
        yield
    finally:
        timers[0].cancel()
