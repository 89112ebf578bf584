"""Names that no other execution has had or will have."""

from __future__ import annotations

import os
import time

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
"""Ten bits as two digits of Crockford's base 32."""


_SHIFTS = range(120, -1, -10)


def new_ulid() -> str:
    """
    A ULID in lower case: 48 bits of Unix time in milliseconds and 80 of chance. Every start needs one, so it is put
    together here: the library takes several times as long to write one.
    """
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def new_run_id() -> str:
    """What tells a new execution from every other one that has had, or will have, its id."""
    return new_ulid()
