"""How deep JSON may be nested: a number of ours, since an interpreter's own differs from version to version."""

from __future__ import annotations

import re
from array import array
from itertools import accumulate

MAX_DEPTH = 250
"""Lists and objects inside one another; every recursion over a value of this depth fits into Python's stack."""

MAX_CHECKED = 50
"""The same of a JSON Schema, and of what is held to one: that takes several calls for each level."""

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[{]}")


def is_too_deep(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """
    Whether a JSON text is nested deeper than `limit`; it needs not be valid.

    Of a text that is not valid, what a parser reads before it finds that out is not deeper than this says.
    """
    if len(data) <= limit or data.count(b"[") + data.count(b"{") <= limit:
        return False
    bare = b"".join((_ESCAPE.sub(b"", data) if b"\\" in data else data).split(b'"')[::2])
    return max(accumulate(array("b", bare.translate(_STEPS, _OTHERS))), default=0) > limit


def check_depth(text: str | bytes, limit: int = MAX_DEPTH) -> None:
    """Raises ValueError for a JSON text that is nested deeper than `limit`, before anything follows it."""
    if is_too_deep(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, limit):
        raise ValueError(f"it is nested deeper than {limit}")
