"""What tells whether two requests ask for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

Part: TypeAlias = "int | str | bytes | Sequence[Part] | None"
"""What is asked for: texts, numbers of 64 bits, bytes, nothing, and lists of these."""

_MARK = "2:"
"""Before the text of a digest, for what earlier releases kept had none."""


def digest(*parts: Part) -> bytes:
    """
    Equal only for equal values of equal types in equal places, however deep.

    MessagePack writes each with its type and length, so that no text can pass for the end of one value and the next.
    """
    return hashlib.sha256(msgspec.msgpack.encode(parts)).digest()


def text_of(*parts: Part) -> str:
    """The digest as a text that `is_digest` knows."""
    return _MARK + digest(*parts).hex()


def is_digest(text: str) -> bool:
    """Whether it is one, and not what an earlier release kept in its place."""
    return text.startswith(_MARK)
