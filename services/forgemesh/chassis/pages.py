"""Paged listings: sizes within bounds, and tokens that say after which key the next page starts."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec

from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest

DEFAULT_SIZE = 100
MAX_SIZE = 500
MAX_BYTES = SESSION_LIMIT - 64 * 1024
"""Of the entries of one page, or of the answers of one call to many: with what is around them they fit a message."""
_ENVELOPE = 8
"""Bytes that an entry takes beside its own."""


def size_of(requested: int, *, usual: int = DEFAULT_SIZE) -> int:
    """How many entries a page holds, `usual` for zero; raises InvalidRequest for a negative number."""
    if requested < 0:
        raise InvalidRequest([Violation("page_size", "must not be negative")])
    return min(requested or usual, MAX_SIZE)


def token_after(*key: str) -> str:
    """The token of the page that starts after the entry with this key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def key_before(token: str, parts: int) -> tuple[str, ...] | None:
    """The key after which the page starts, None for the first page; raises InvalidRequest for a foreign token."""
    if not token:
        return None
    try:
        key = msgspec.json.decode(base64.b64decode(token, altchars=b"-_", validate=True), type=list[str])
    except (binascii.Error, ValueError):
        key = []
    if len(key) != parts:
        raise InvalidRequest([Violation("page_token", "must come from an earlier response")])
    return tuple(key)


class Sized(Protocol):
    """A message."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's own name
        """How many bytes it takes."""


Entry = TypeVar("Entry", bound=Sized)


def size_in_list(entry: Sized) -> int:
    """Bytes that a message takes as one of several in another."""
    return entry.ByteSize() + _ENVELOPE


def fitting(entries: Iterable[Entry], most: int = MAX_BYTES) -> list[Entry]:
    """The first entries, as many as fit into a message together; one at least, if there is any."""
    found: list[Entry] = []
    for entry in entries:
        most -= size_in_list(entry)
        if most < 0 and found:
            break
        found.append(entry)
    return found
