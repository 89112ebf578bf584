"""Amounts of memory as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def bytes_of(size: str | int) -> int:
    """Bytes of "256MiB", "1GB" or a plain number of bytes; raises ValueError unless it is positive."""
    text = str(size).strip()
    written = _WRITTEN.fullmatch(text)
    unit = _UNITS.get(written[2].upper()) if written else None
    if written is None or unit is None:
        raise ValueError(f'{size!r} is not an amount of memory; write e.g. "256MiB", "1GB" or bytes')
    amount = int(Fraction(written[1]) * unit)
    if amount <= 0:
        raise ValueError(f"{size!r} is not a positive amount of memory")
    return amount
