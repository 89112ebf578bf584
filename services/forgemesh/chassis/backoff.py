"""How long to wait before something is tried again."""

from __future__ import annotations

_DOUBLINGS = 64
"""After so many any first pause is beyond any longest one; a float ends at 1024."""


def longest_pause(failures: int, *, first: float, most: float) -> float:
    """Seconds: `first`, doubled with each failure in a row, and never more than `most`, however often it fails."""
    return min(most, first * 2.0 ** min(failures, _DOUBLINGS))
