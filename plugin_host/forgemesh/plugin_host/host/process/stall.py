"""An event loop that does not turn: where it stands, for the log and for the supervisor."""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable

from forgemesh.chassis.code_position import where


class StallReporter:
    """
    Dumps the stacks of all threads to standard error once for each stall, and tells `report` how long it lasts and
    where the loop stands; an empty text when it turns again.

    To be made on the event loop's thread, and told from another.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._loop_thread = threading.get_ident()

    def __call__(self, lag: float) -> None:
        """The loop has not turned for `lag` seconds; 0 when it turns again."""
        said = ""
        if lag:
            place = where(sys._current_frames().get(self._loop_thread))
            faulthandler.dump_traceback(file=2, all_threads=True)
            said = f"the event loop has not turned for {lag:.1f} s" + (f", it stands at {place}" if place else "")
        self._report(said)
