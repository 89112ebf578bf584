"""Admission: which calls run, which wait, which are refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What becomes of a call that arrives."""

    RUN = "run"
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(slots=True)
class Admission:
    """
    At most `concurrency` calls run at a time and those behind them wait in order of arrival.

    A call with a credit always waits if it cannot run; one without waits only while fewer than `queue` do. Counted in
    place, since it is asked twice for each call.
    """

    concurrency: int
    queue: int
    running: int = 0
    waiting: int = 0

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.running and not self.waiting

    def arrive(self, *, credited: bool) -> Verdict:
        """A call is here; unless it is refused, it is counted from now on."""
        if self.running < self.concurrency and not self.waiting:
            self.running += 1
            return Verdict.RUN
        if credited or self.waiting < self.queue:
            self.waiting += 1
            return Verdict.WAIT
        return Verdict.REFUSE

    def leave(self) -> bool:
        """A running call has ended; true if the first of those that wait runs now in its place."""
        self.running -= 1
        if not self.waiting:
            return False
        self.waiting -= 1
        self.running += 1
        return True

    def abandon(self) -> None:
        """A waiting call is no longer wanted."""
        self.waiting -= 1
