"""When to say again what still goes on."""

from __future__ import annotations


class Reminder:
    """Something is said when it begins, when it changes, and again each time that `period` seconds have passed."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._said = ""
        self._at = 0.0

    def due(self, what: str, now: float) -> bool:
        """Whether to say it at this moment, in seconds of a clock that never goes back; then it counts as said."""
        if what == self._said and now - self._at < self._period:
            return False
        self._said, self._at = what, now
        return True

    def over(self) -> None:
        """It goes on no more: the next one begins."""
        self._said = ""
