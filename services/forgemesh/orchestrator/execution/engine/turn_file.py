"""The slots of a TurnMarker, in a file that is mapped into memory: written to at the cost of an assignment."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

from forgemesh.chassis.private_files import open_private
from forgemesh.orchestrator.execution.engine.turn_marker import LENGTH, TurnMarker

_log = logging.getLogger(__name__)
_BYTES = 8 * LENGTH


@contextlib.contextmanager
def turns_beside(database: Path) -> Iterator[TurnMarker]:
    """
    What is written survives the end of the process, and need not survive that of the machine. The file goes with a
    process that ends in good order, unless something is held against an execution.
    """
    path = database.with_name(f"{database.name}-turn")
    try:
        file = open_private(path, os.O_RDWR)
    except OSError as error:
        _log.warning("%s cannot be used: %s; an execution that hangs an orchestrator is not set aside", path, error)
        yield TurnMarker(clock=time.monotonic)
        return
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, file)
        if os.fstat(file).st_size != _BYTES:
            os.ftruncate(file, 0)
            os.ftruncate(file, _BYTES)
        mapped = stack.enter_context(mmap.mmap(file, _BYTES))
        view = stack.enter_context(memoryview(mapped))
        slots = stack.enter_context(view.cast("Q"))
        yield TurnMarker(slots, time.monotonic)
        if not any(slots):  # it ended in good order, and nothing is held against anybody
            path.unlink(missing_ok=True)
