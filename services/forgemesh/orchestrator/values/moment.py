"""Moments as authors write them."""

from __future__ import annotations

from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIMIT = datetime(2262, 1, 1, tzinfo=UTC)
"""Nanoseconds of later ones have more than 64 bits."""
_SECOND = 1_000_000_000


def moment(text: object) -> int | None:
    """An RFC 3339 text, zone included, as Unix nanoseconds; None if it is none, or one after 2261."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if found is None or found.tzinfo is None or found >= _LIMIT:
        return None
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds * 1000
