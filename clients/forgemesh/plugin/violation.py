"""Where a value does not fit its type, and why, in the words of JSON."""

from __future__ import annotations

import re

_PLACE = re.compile(r"(?s)(.*) - at `(?:key in )?(.*)`")
_EXPECTED = re.compile(r"(?s)Expected (.+), got (.+)")
_MISSING = re.compile(r"(?s)Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"(?s)Object contains unknown field `(.*)`")


class Misfit(ValueError):
    """A value is not of its type; the text says where and why."""


def violation_of(error: Exception) -> str:
    """
    What msgspec says of a value, with the place first: "$.readings[3].value: expected float, got str".

    Entries of an object with free keys are all "[...]". Bytes that are no JSON have no place.
    """
    said = str(error)
    placed = _PLACE.fullmatch(said)
    what, place = (placed[1], placed[2]) if placed else (said, "$")
    if missing := _MISSING.fullmatch(what):
        return f"{place}.{missing[1]}: is missing"
    if unknown := _UNKNOWN.fullmatch(what):
        return f"{place}.{unknown[1]}: unknown key"
    if expected := _EXPECTED.fullmatch(what):
        return f"{place}: expected {_plain(expected[1])}, got {_plain(expected[2])}"
    if placed:
        return f"{place}: {_plain(what[:1].lower() + what[1:])}"
    return _plain(said) or type(error).__name__


def _plain(text: str) -> str:
    return text.replace("`", "")
