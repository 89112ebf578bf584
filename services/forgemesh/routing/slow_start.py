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
