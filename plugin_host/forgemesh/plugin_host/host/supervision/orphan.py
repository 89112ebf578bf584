"""The end of a host that must end, even if the plugin blocks the event loop or ignores every cancellation."""

from __future__ import annotations

import os
import select
import threading
import time
from functools import partial

from forgemesh.chassis.process import PARENT_FD
from forgemesh.chassis.threads import start_thread

ORPHAN_LIMIT = 1.75
"""Seconds that an orphan has to end in good order."""
EXIT_ORPHANED = 3


def end_without_parent() -> None:
    """Watch the parent's pipe from a thread: when it breaks, this process ends within ORPHAN_LIMIT, come what may."""
    pipe = os.environ.get(PARENT_FD)
    if pipe is not None:
        start_thread("orphan-watch", partial(_watch, int(pipe)))


def live_without_parent() -> None:
    """Do not end with the parent: another one is going to be found."""
    pipe = os.environ.pop(PARENT_FD, None)
    if pipe is not None:
        os.close(int(pipe))


def keep_output_open() -> None:
    """Send standard output and error nowhere as far as nobody reads them any more: writing must not fail."""
    for descriptor in (1, 2):
        broken = select.poll()
        broken.register(descriptor, 0)
        if any(events & select.POLLERR for _, events in broken.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def end_within(seconds: float, exit_code: int) -> None:
    """End this process by then, come what may; without effect if it ends before."""
    timer = threading.Timer(seconds, os._exit, (exit_code,))
    timer.daemon = True
    timer.start()


def _watch(pipe: int) -> None:
    broken = select.poll()  # not a read: the event loop watches the pipe too, and has made it non-blocking
    broken.register(pipe, select.POLLIN)
    broken.poll()
    time.sleep(ORPHAN_LIMIT)
    os._exit(EXIT_ORPHANED)
