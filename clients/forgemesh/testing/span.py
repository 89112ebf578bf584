"""Lengths of virtual time."""

from __future__ import annotations

from forgemesh.notation import duration

Span = duration.Length
"""As in definitions ("200ms", "5s", "2m", "1h", "3d"), seconds, or a timedelta."""


def seconds_of(span: Span) -> float:
    """Its seconds, perhaps none; raises ValueError for what is no length of time."""
    return duration.seconds_of(span, zero=True)
