"""Lengths of time as authors write them."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")


def seconds_of(duration: str | float) -> float:
    """Seconds of "200ms", "5s", "2m", "1h" or a plain number of seconds; raises ValueError unless it is positive."""
    if isinstance(duration, str):
        written = _WRITTEN.fullmatch(duration.strip())
        if written is None:
            raise ValueError(f'{duration!r} is not a length of time; write e.g. "200ms", "5s", "2m" or seconds')
        seconds = float(written[1]) * _UNITS[written[2]]
    else:
        seconds = float(duration)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{duration!r} is not a positive length of time")
    return seconds
