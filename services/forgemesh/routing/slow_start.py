"""How an instance that is new, or back, grows into its share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStart:
    """
    For `window` seconds (0: not at all) an instance gets a growing part of its weight, at least `least` of it.

    The part grows with time to the power of 1/`aggression` (Envoy's slow start).
    """

    window: float = 0.0
    least: float = 0.1
    aggression: float = 1.0

    def part(self, age: float) -> float:
        """The part of its weight, above 0 and at most 1, that an instance gets at `age` seconds; none is below 1."""
        age = max(age, 1.0)
        if age >= self.window:
            return 1.0
        grown = (age / self.window) ** (1 / self.aggression) if self.aggression > 0 else 0.0
        return min(1.0, max(self.least, grown, LEAST))


LEAST = 1e-6
"""Nobody stays without any call for ever, whatever the rule says."""
