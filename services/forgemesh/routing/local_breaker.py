"""Which instances a caller leaves out for a moment because its own calls do not get through to them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TypeAlias

Registration: TypeAlias = tuple[str, int]
"""Instance id and incarnation."""

FAILURES = 5
"""So many calls in a row that do not get through trip an instance."""
OUT = 2.0
"""Seconds that it is left out, and up to JITTER times as long again."""
JITTER = 0.25


class LocalBreakers:
    """
    The caller's own circuits, below those of the balancer: they only take instances away, and only for a moment.

    Written at each call that fails, and read at each pick. Moments are monotonic seconds.
    """

    __slots__ = ("_until", "streaks")

    def __init__(self) -> None:
        self.streaks: dict[Registration, int] = {}
        """Failures in a row, of those that have any."""
        self._until: dict[Registration, float] = {}

    @property
    def out(self) -> AbstractSet[Registration]:
        """Those that are left out now; changes with them."""
        return self._until.keys()

    def failed(self, registration: Registration, now: float, draw: float) -> float | None:
        """One more in a row; if that trips the instance, until when. `draw` in [0, 1) spreads the moment."""
        if registration in self._until:
            return None
        streak = self.streaks.get(registration, 0) + 1
        if streak < FAILURES:
            self.streaks[registration] = streak
            return None
        self.streaks.pop(registration, None)
        until = self._until[registration] = now + OUT * (1 + JITTER * draw)
        return until

    def answered(self, registration: Registration) -> None:
        """A call got through."""
        self.streaks.pop(registration, None)

    def over(self, now: float) -> list[Registration]:
        """Those whose time is over, and who are not left out any more."""
        back = [registration for registration, until in self._until.items() if until <= now]
        for registration in back:
            del self._until[registration]
        return back

    def forget(self, registration: Registration) -> None:
        """What it did before says nothing any more; one that is left out stays so for its time."""
        self.streaks.pop(registration, None)
