"""What tells whether two requests ask for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

Part: TypeAlias = "int | str | bytes | Sequence[Part] | None"
"""What is asked for: texts, numbers, bytes, nothing, and lists of these."""


def digest(*parts: Part) -> bytes:
    """
    Equal only for equal values of equal types in equal places, however deep.

    Each is written with its type and its length, so that no text can pass for the end of one value and the next one.
    """
    found = hashlib.sha256()
    for piece in _pieces(parts):
        found.update(piece)
    return found.digest()


def _pieces(part: Part) -> Iterator[bytes]:
    match part:
        case None:
            yield b"n"
        case bool():
            yield b"b1" if part else b"b0"
        case int():
            yield b"i%d;" % part
        case str():
            encoded = part.encode()
            yield b"s%d;" % len(encoded)
            yield encoded
        case bytes():
            yield b"y%d;" % len(part)
            yield part
        case _:
            yield b"l%d;" % len(part)
            for one in part:
                yield from _pieces(one)


_MARK = "2:"
"""Before the text of a digest, for what earlier releases kept had none."""


def text_of(*parts: Part) -> str:
    """The digest as a text that `is_digest` knows."""
    return _MARK + digest(*parts).hex()


def is_digest(text: str) -> bool:
    """Whether it is one, and not what an earlier release kept in its place."""
    return text.startswith(_MARK)
