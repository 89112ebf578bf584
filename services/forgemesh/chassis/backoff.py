"""How long to wait before something is tried again."""

from __future__ import annotations

import random

_DOUBLINGS = 64
"""After so many any first pause is beyond any longest one; a float ends at 1024."""


def longest_pause(failures: int, *, first: float, most: float) -> float:
    """Seconds: `first`, doubled with each failure in a row, and never more than `most`, however often it fails."""
    return min(most, first * 2.0 ** min(failures, _DOUBLINGS))


def drawn_pause(failures: int, *, first: float, most: float, least: float = 0.0) -> float:
    """
    Seconds, drawn at random between a share `least` of the longest pause and all of it, so that those who failed
    together do not try again together (Brooker 2015, "Exponential backoff and jitter").
    """
    longest = longest_pause(failures, first=first, most=most)
    return random.uniform(least * longest, longest)
