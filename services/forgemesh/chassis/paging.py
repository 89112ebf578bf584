"""Pages of lists: bounded sizes, opaque tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_PAGE = 500


def page_size(asked: int, *, default: int) -> int:
    """At most 500; zero and less mean the default."""
    return min(asked, MAX_PAGE) if asked > 0 else default


def page_of(items: Sequence[T], token: str, size: int) -> tuple[Sequence[T], str]:
    """The page that `token` names, and the token of the next one (empty if there is none)."""
    start = int(token) if token.isdecimal() else 0
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""
