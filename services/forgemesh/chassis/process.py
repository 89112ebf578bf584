"""The frame of a process: signals, its parent's life, telling the parent that it is ready, exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import select
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import uvloop

from forgemesh.chassis.foreign_text import printable
from forgemesh.chassis.health import PortInUse
from forgemesh.chassis.heartbeat import beating
from forgemesh.chassis.settings import SettingsError
from forgemesh.chassis.stop_signals import EXIT_STUCK, taking_stop_signals
from forgemesh.chassis.threads import start_thread
from forgemesh.faults import Fault

_log = logging.getLogger(__name__)

PARENT_FD = "FORGEMESH_PARENT_FD"
"""Names an inherited pipe whose other end the parent holds open while it lives."""
READY_FD = "FORGEMESH_READY_FD"
"""Names an inherited pipe on which one JSON line says that the process is ready and where it listens."""

EXIT_SETTINGS = 2
EXIT_CANNOT_START = 1
EXIT_OUT_OF_MEMORY = 77
ORPHAN_LIMIT = 1.5
"""Seconds after which a process whose parent is gone ends, whatever it still has in hand."""
TURN = 0.5
"""Seconds more after which the event loop has not turned, which would have ended the process by then."""


class CannotStart(Exception):
    """Keeps a process from starting; its text is one sentence for people."""

    exit_code = EXIT_CANNOT_START


class Stop(asyncio.Event):
    """Set when the process is to stop; `orphaned` if that is because its parent is gone: nobody waits for it then."""

    orphaned = False


def run_until_stopped(run: Callable[[Stop], Awaitable[None]]) -> None:
    """
    Run `run(stop)` on a fresh loop; SIGTERM, SIGINT and the parent's death set `stop`. A loop that does not take such a
    signal does not keep the process alive, see stop_signals.

    What keeps a process from starting is one sentence on stderr and an exit code, never a traceback.
    """
    gc.freeze()  # what was imported stays, and is not looked through again
    try:
        uvloop.run(_supervised(run))
    except (CannotStart, PortInUse, Fault, OSError) as error:
        _say(error)
        raise SystemExit(getattr(error, "exit_code", EXIT_CANNOT_START)) from error


@contextlib.contextmanager
def refusing_bad_settings() -> Iterator[None]:
    """Turn SettingsError into its sentence on stderr and exit code 2."""
    try:
        yield
    except SettingsError as error:
        _say(error)
        raise SystemExit(EXIT_SETTINGS) from error


def _say(error: Exception) -> None:
    """Why the process does not start, on as many lines as that has."""
    sys.stderr.write("".join(printable(line) + "\n" for line in f"error: {error}".splitlines()))


async def _supervised(run: Callable[[Stop], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    stop = Stop()
    parent = os.environ.pop(PARENT_FD, None)
    if parent is not None:
        _watch_parent(loop, int(parent), stop)
    with taking_stop_signals(stop.set), beating():
        await run(stop)


def _watch_parent(loop: asyncio.AbstractEventLoop, fd: int, stop: Stop) -> None:
    """
    The parent never writes: readable means that it is gone.

    A loop that hangs does not hear of it, and a thread ends the process then.
    """
    os.set_inheritable(fd, False)
    start_thread("parent-watch", partial(_end_after_parent, fd))

    def gone() -> None:
        loop.remove_reader(fd)
        _log.warning("the parent process is gone, stopping")
        stop.orphaned = True
        stop.set()
        loop.call_later(ORPHAN_LIMIT, os._exit, 0)

    loop.add_reader(fd, gone)


def _end_after_parent(fd: int) -> None:
    broken = select.poll()  # not a read: the event loop watches the pipe too, and has made it non-blocking
    broken.register(fd, select.POLLIN)
    broken.poll()
    time.sleep(ORPHAN_LIMIT + TURN)
    os._exit(EXIT_STUCK)


def is_awaited() -> bool:
    """Whether a parent waits to hear that this process is ready, and has not heard it yet."""
    return READY_FD in os.environ


def tell_ready(**facts: Any) -> None:
    """Tell the parent, if it asked for it, that this process is ready; `facts` are its addresses."""
    gc.collect()
    gc.freeze()  # what the start has made stays as well
    fd = os.environ.pop(READY_FD, None)
    if fd is None:
        return
    with os.fdopen(int(fd), "w") as pipe:
        pipe.write(json.dumps(facts) + "\n")
