"""The words of the language that are enumerations in its messages."""

from __future__ import annotations

import re
from functools import partial

from google.protobuf.descriptor import EnumDescriptor


def number_of(enum: EnumDescriptor, word: str) -> int:
    """Raises ValueError for a word that the enumeration does not have."""
    value = enum.values_by_name.get(_prefix(enum) + word.upper())
    if value is None:
        raise ValueError(f"{word!r} is none of {', '.join(filter(None, map(partial(word_of, enum), range(1, 9))))}")
    return value.number


def word_of(enum: EnumDescriptor, number: int) -> str | None:
    """None for a number that the enumeration does not have."""
    value = enum.values_by_number.get(number)
    return value.name.removeprefix(_prefix(enum)).lower() if value is not None else None


def _prefix(enum: EnumDescriptor) -> str:
    """As protobuf wants it: JOIN_MODE_ of JoinMode."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
