"""The signals that tell a process to stop, and its end if its event loop does not take them."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

from forgemesh.chassis.code_position import where
from forgemesh.chassis.threads import start_thread

_log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TAKING = 2.0
"""Seconds that the event loop has to take a signal; from then on it stops as slowly as it likes."""
LAST_WORDS = 1.0
"""Seconds in which where the loop stands is written; who holds the lock of the log may be the one that hangs."""
EXIT_STUCK = 70
"""The exit code of a process that was told to stop and whose event loop did not turn."""

_LOOKS = 20


@contextlib.contextmanager
def taking_stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """
    Call `stop()` on the running loop for each of STOP_SIGNALS while the block runs; to be used on the main thread.

    A loop that is held up by a call does not hear of a signal. So a thread hears of it first, passes it on, and if the
    loop has not taken it within TAKING seconds, it logs where the loop stands and ends the process with EXIT_STUCK.
    Time for which the whole process is stopped does not count. What holds the interpreter's lock holds up the thread as
    well.
    """
    loop, taken = asyncio.get_running_loop(), threading.Event()

    def take() -> None:
        taken.set()
        stop()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, take)
    heard, ours = os.pipe()
    os.set_blocking(ours, False)
    loops = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
    start_thread("stop-signals", partial(_pass_on, heard, loops, taken, threading.get_ident()))
    try:
        yield
    finally:
        taken.set()  # it turns
        if signal.set_wakeup_fd(loops) not in (ours, loops):
            _log.debug("another one hears the signals of this process")
        os.close(ours)


def _pass_on(heard: int, loops: int, taken: threading.Event, loop_thread: int) -> None:
    """Until nobody tells of signals any more."""
    watching = False
    while numbers := os.read(heard, 64):
        with contextlib.suppress(OSError):  # it has enough to read, or is closed
            os.write(loops, numbers)
        told = [number for number in STOP_SIGNALS if number in numbers]
        if told and not watching:
            watching = True
            start_thread("stop-watch", partial(_watch, told[0], taken, loop_thread))
    os.close(heard)


def _watch(number: signal.Signals, taken: threading.Event, loop_thread: int) -> None:
    for _ in range(_LOOKS):  # many short looks: in a process that is stopped and goes on, one long one would be over
        if taken.wait(TAKING / _LOOKS):
            return
    end = threading.Timer(LAST_WORDS, os._exit, (EXIT_STUCK,))
    end.daemon = True
    end.start()
    place = where(sys._current_frames().get(loop_thread)) or "a place that is not known"
    _log.critical(
        "%s came, and the event loop has not taken it for %g s: it stands at %s; this process ends, and what it was at"
        " is lost",
        number.name,
        TAKING,
        place,
    )
    faulthandler.dump_traceback(file=2, all_threads=True)
    os._exit(EXIT_STUCK)
