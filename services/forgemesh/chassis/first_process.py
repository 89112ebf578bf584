"""
What process 1 of a container needs before anything else: the kernel drops every signal that it does not handle.

This module imports next to nothing, since what is imported before it is a time in which SIGTERM is lost.
"""

from __future__ import annotations

import os
import signal

EXIT_TERMINATED = 128 + signal.SIGTERM
"""What a shell says of a process that SIGTERM has ended."""


def end_on_sigterm() -> None:
    """
    From now on SIGTERM ends process 1 at once, as it ends any other process, until a loop handles it.

    To be called by a program before it imports anything heavy; without effect in a process of another number.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    os._exit(EXIT_TERMINATED)
