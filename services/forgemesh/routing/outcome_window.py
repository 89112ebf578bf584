"""How calls went of late."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import NamedTuple, Self

from forgemesh.routing.outcome import CallCounts

PARTS = 10
"""The window moves on by this part of its length: it reaches back at least 9/10 of it, and at most all of it."""
GRAINS = 100
"""A window of a number of calls forgets about this part of them at a time; up to so many it forgets one by one."""


class Batch(NamedTuple):
    """Calls of one part of the window; the part is named by how many of its length went before it."""

    part: int
    calls: int
    failed: int
    slow: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeWindow:
    """
    Calls of the last `seconds`, of these at most the newest `limit` (0: all); the totals are exact.

    Calls say something if they succeeded or failed. A batch that a limit cuts in two is taken to have had its failures
    spread evenly: several reports arrive as one, and nobody knows the order in it.
    """

    seconds: float
    limit: int = 0
    calls: int = 0
    failed: int = 0
    slow: int = 0
    batches: tuple[Batch, ...] = ()

    @property
    def failure_rate(self) -> float:
        """The share that failed; 0 of nothing."""
        return self.failed / self.calls if self.calls else 0.0

    @property
    def slow_rate(self) -> float:
        """The share that succeeded slowly; 0 of nothing."""
        return self.slow / self.calls if self.calls else 0.0

    def plus(self, counts: CallCounts, now: float) -> Self:
        """With what is new, a difference of accounts, at `now` (seconds, monotonic)."""
        window = self.at(now)
        calls = counts.succeeded + counts.failed
        if not calls:
            return window
        added = Batch(window._part(now), calls, counts.failed, counts.slow)
        return window._of(window._joined(added))

    def at(self, now: float) -> Self:
        """What is left of it at `now`."""
        oldest = self._part(now) - PARTS + 1
        if not self.batches or self.batches[0].part >= oldest:
            return self
        return self._of(tuple(batch for batch in self.batches if batch.part >= oldest))

    def fresh(self) -> Self:
        """The same window with nothing in it."""
        return replace(self, calls=0, failed=0, slow=0, batches=())

    def under(self, seconds: float, limit: int) -> Self:
        """What fits into a window of another size."""
        if (seconds, limit) == (self.seconds, self.limit):
            return self
        other = replace(self.fresh(), seconds=seconds, limit=limit)
        moved = [batch._replace(part=other._part(batch.part * self._length)) for batch in self.batches]
        return other._of(tuple(moved))

    @property
    def _length(self) -> float:
        return self.seconds / PARTS or 1.0

    def _part(self, moment: float) -> int:
        return floor(moment / self._length)

    def _joined(self, added: Batch) -> tuple[Batch, ...]:
        """The batches and one more, that joins the last one where that loses nothing that is needed later."""
        if not self.batches:
            return (added,)
        last = self.batches[-1]
        grain = max(1, self.limit // GRAINS)
        if last.part != added.part or (self.limit and last.calls + added.calls > grain):
            return (*self.batches, added)
        both = Batch(last.part, last.calls + added.calls, last.failed + added.failed, last.slow + added.slow)
        return (*self.batches[:-1], both)

    def _of(self, batches: tuple[Batch, ...]) -> Self:
        calls = sum([batch.calls for batch in batches])
        if self.limit and calls > self.limit:
            batches = _newest(batches, calls - self.limit)
            calls = self.limit
        failed = sum([batch.failed for batch in batches])
        slow = sum([batch.slow for batch in batches])
        return replace(self, calls=calls, failed=failed, slow=slow, batches=batches)


def _newest(batches: tuple[Batch, ...], surplus: int) -> tuple[Batch, ...]:
    """Without the oldest `surplus` calls."""
    for index, batch in enumerate(batches):
        if batch.calls > surplus:
            left = batch.calls - surplus
            cut = Batch(
                batch.part, left, round(batch.failed * left / batch.calls), round(batch.slow * left / batch.calls)
            )
            return (cut, *batches[index + 1 :])
        surplus -= batch.calls
    return ()
