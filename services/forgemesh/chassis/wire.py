"""The few pieces of protobuf's wire format of which messages are made that are written for every step."""

from __future__ import annotations

from functools import lru_cache

_LENGTH_DELIMITED = 2


def encoded_varint(number: int) -> bytes:
    """A number from 0 to 2 ** 64 - 1; raises ValueError for any other."""
    if number >> 64:
        raise ValueError(f"{number} is no number of 64 bits")
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


@lru_cache(maxsize=8192)
def varint(number: int) -> bytes:
    """One that comes again and again: a length, an attempt."""
    return encoded_varint(number)


@lru_cache(maxsize=8192)
def length_delimited(field: int, size: int) -> bytes:
    """What stands before the `size` bytes of a text, bytes or message in a field."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(size)
