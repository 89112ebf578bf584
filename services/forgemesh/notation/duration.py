"""Lengths of time as people write them."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from fractions import Fraction
from typing import TypeAlias

Length: TypeAlias = str | float | timedelta
"""A text such as "200ms", "5s", "1.5m", "1h" or "3d", seconds, or a timedelta."""

WRITTEN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
"""As definitions have it: a number and a unit, without blanks."""
LONGEST_NUMBER = 1_000
"""Characters of a number that is read exactly, with its unit."""
_WITH_BLANKS = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*")
_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600), "d": Fraction(86_400)}


def exact_seconds(text: str) -> Fraction | None:
    """Of a text in exactly this notation; None for any other."""
    return _seconds(WRITTEN.fullmatch(text) if len(text) <= LONGEST_NUMBER else None)


def seconds_of(length: Length, *, zero: bool = False) -> float:
    """
    Seconds of what people give; blanks around the number do not count.

    Raises ValueError for what is no length of time, has no end, or is negative or, unless `zero` allows that, zero.
    """
    if isinstance(length, str):
        exact = _seconds(_WITH_BLANKS.fullmatch(length) if len(length) <= LONGEST_NUMBER else None)
        if exact is None:
            example = 'write e.g. "200ms", "5s", "2m", "1h", "1d" or seconds'
            raise ValueError(f"{length!r:.100} is not a length of time; {example}")
        seconds = _as_float(exact)
    else:
        seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
        wanted = "a length of time: it must not be negative, and must end" if zero else "a positive length of time"
        raise ValueError(f"{length!r:.100} is not {wanted}")
    return seconds


def _seconds(found: re.Match[str] | None) -> Fraction | None:
    return Fraction(found[1]) * _UNITS[found[2]] if found is not None else None


def _as_float(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf
