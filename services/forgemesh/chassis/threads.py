"""Threads whose end is seen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from forgemesh.chassis.backoff import longest_pause

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between a bug and the next beginning."""


def start_thread(name: str, work: Callable[[], None], *, again: bool = True) -> threading.Thread:
    """
    Run `work` in a thread that does not keep the process alive.

    An exception that comes out of it is a bug: it is logged with the `name` and how many there were, and after a pause
    the work begins again, unless it is not to happen `again`.
    """

    def run() -> None:
        failures = 0
        while True:
            try:
                work()
            except Exception:  # noqa: BLE001 - whatever it is
                failures += 1
                then = "begins again" if again else "is over"
                _log.exception("thread %s has ended by a bug, time %d; it %s", name, failures, then)
            else:
                return
            if not again:
                return
            threading.Event().wait(longest_pause(failures, first=FIRST_PAUSE, most=LONGEST_PAUSE))

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
