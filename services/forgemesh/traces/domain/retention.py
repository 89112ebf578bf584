"""How long traces are kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """
    A trace goes as a whole: once its newest span came more than `max_age` seconds ago, or, the one that began
    first before all others, while more than `max_spans` spans are stored.
    """

    max_age: float
    max_spans: int

    def cutoff(self, now: float) -> float:
        """Traces whose newest span came before this moment go."""
        return now - self.max_age

    def excess(self, spans: int) -> int:
        """How many of `spans` stored spans are too many."""
        return max(0, spans - self.max_spans)
