"""
What a process needs before it loads anything else; process 1 of a container above all: the kernel drops every signal
that it does not handle.

This module imports next to nothing, since what is imported before it is a time in which SIGTERM is lost.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys

EXIT_FEW_DESCRIPTORS = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
"""What a shell says of a process that SIGTERM has ended."""


def end_on_sigterm() -> None:
    """
    From now on SIGTERM ends process 1 at once, as it ends any other process, until a loop handles it.

    To be called by a program before it imports anything heavy; without effect in a process of another number.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)


def collect_rarely() -> None:
    """
    From now on look for garbage once for 20,000 new objects, where Python does for 700, and not when the process ends.

    To be called by a program before it imports anything heavy: nearly all that is made by that stays, and looking
    through it again and again finds nothing. Of a process at work that took a tenth of all CPU, and of a short one the
    last look, at what goes anyway, a fifth.
    """
    gc.set_threshold(20_000, 20, 50)
    atexit.register(gc.freeze)


def need_descriptors() -> None:
    """
    End this process with one sentence if it may open too few files.

    To be called by a service before it imports anything heavy: gRPC's own threads, which start when it is imported, may
    end a process without a word.
    """
    from forgemesh.chassis.descriptors import too_few_descriptors  # noqa: PLC0415 - SIGTERM ends this process by now

    if shortage := too_few_descriptors():
        sys.stderr.write(f"error: {shortage}\n")
        sys.exit(EXIT_FEW_DESCRIPTORS)


def _end(number: int, frame: object) -> None:
    os._exit(EXIT_TERMINATED)
