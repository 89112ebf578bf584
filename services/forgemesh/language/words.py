"""The words of the language that are enumerations in its messages."""

from __future__ import annotations

import re

from google.protobuf.descriptor import EnumDescriptor


def number_of(enum: EnumDescriptor, word: str) -> int:
    """Raises ValueError for a word that the enumeration does not have."""
    value = enum.values_by_name.get(_prefix(enum) + word.upper())
    if value is None:
        raise ValueError(f"{word!r} is none of {', '.join(words_of(enum))}")
    return value.number


def word_of(enum: EnumDescriptor, number: int) -> str | None:
    """None for a number that the enumeration does not have."""
    value = enum.values_by_number.get(number)
    return value.name.removeprefix(_prefix(enum)).lower() if value is not None else None


def words_of(enum: EnumDescriptor) -> list[str]:
    """All of them, in order of their numbers; what is unsaid has none."""
    return [value.name.removeprefix(_prefix(enum)).lower() for value in enum.values if value.number]


def _prefix(enum: EnumDescriptor) -> str:
    """As protobuf wants it: JOIN_MODE_ of JoinMode."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
