"""Lengths of virtual time."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

Span: TypeAlias = str | float | timedelta
"""As in definitions ("200ms", "5s", "2m", "1h", "3d"), seconds, or a timedelta."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def seconds_of(span: Span) -> float:
    """Its seconds; raises ValueError for what is no length of time."""
    if isinstance(span, timedelta):
        seconds = span.total_seconds()
    elif isinstance(span, str):
        written = _WRITTEN.fullmatch(span.strip())
        if written is None:
            raise ValueError(f'{span!r} is not a length of time; write e.g. "200ms", "5s", "2m", "1h", "3d" or seconds')
        seconds = float(written[1]) * _UNITS[written[2]]
    else:
        seconds = float(span)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{span!r} is not a length of time: it must not be negative, and must end")
    return seconds
