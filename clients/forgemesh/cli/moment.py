"""Moments and lengths of time, as people read them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_SECOND = 1_000_000_000


def moment(stamp: Timestamp) -> str:
    """Local time, to the second."""
    return datetime.fromtimestamp(stamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(stamp: Timestamp, now: int) -> str:
    """How long before `now` (Unix nanoseconds) it was."""
    return f"{_rounded(now - stamp.ToNanoseconds())} ago"


def ahead(stamp: Timestamp, now: int) -> str:
    """In how long after `now` it will be; what is due already is due now."""
    left = stamp.ToNanoseconds() - now
    return f"in {_rounded(left)}" if left > 0 else "now"


def length(milliseconds: int) -> str:
    """A length of time with one unit, rounded up."""
    return _rounded(milliseconds * 1_000_000)


def _rounded(nanoseconds: int) -> str:
    """With one unit, and rounded up, so that nothing comes later than it says: 12 s, 3 m, 2 h, 5 d."""
    seconds = math.ceil(max(nanoseconds, 0) / _SECOND)
    for unit, length, until in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{math.ceil(seconds / length)} {unit}"
    return f"{math.ceil(seconds / 86_400)} d"
