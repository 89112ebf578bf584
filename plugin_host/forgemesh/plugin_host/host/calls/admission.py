"""Admission: which calls run, which wait, which are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What becomes of a call that arrives."""

    RUN = "run"
    WAIT = "wait"
    REFUSE = "refuse"
    TOO_LATE = "too late"


_NEWEST_COUNTS = 0.1
"""The share of the newest run in the mean of run times."""


@dataclass(slots=True)
class Admission:
    """
    At most `concurrency` calls run at a time and those behind them wait in order of arrival.

    A call with a credit always waits if it cannot run; one without waits only while fewer than `queue` do. None waits
    that is likely to be given up before its turn. `mean_run` (seconds) is the exponentially weighted mean of how long
    calls ran. Counted in place, since it is asked twice for each call.
    """

    concurrency: int
    queue: int
    running: int = 0
    waiting: int = 0
    mean_run: float = 0.0

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.running and not self.waiting

    @property
    def expected_wait(self) -> float:
        """Seconds until a place would be free for one more call, as things have gone; 0 if one is free."""
        if self.running < self.concurrency and not self.waiting:
            return 0.0
        return (self.waiting + 0.5) * self.mean_run / self.concurrency

    def arrive(self, *, credited: bool, seconds: float = math.inf) -> Verdict:
        """A call is here that is wanted for so long; unless it is refused, it is counted from now on."""
        if self.running < self.concurrency and not self.waiting:
            self.running += 1
            return Verdict.RUN
        if not credited and self.waiting >= self.queue:
            return Verdict.REFUSE
        if self.expected_wait >= seconds:
            return Verdict.TOO_LATE
        self.waiting += 1
        return Verdict.WAIT

    def leave(self, ran: float) -> bool:
        """A call has ended that ran for so long; true if the first of those that wait runs now in its place."""
        self.mean_run = self.mean_run + (ran - self.mean_run) * _NEWEST_COUNTS if self.mean_run else ran
        self.running -= 1
        if not self.waiting:
            return False
        self.waiting -= 1
        self.running += 1
        return True

    def abandon(self) -> None:
        """A waiting call is no longer wanted."""
        self.waiting -= 1
