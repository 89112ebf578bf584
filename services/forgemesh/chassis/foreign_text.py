"""Text that others wrote, made so that a terminal shows it and obeys nothing in it."""

from __future__ import annotations

import json
import re

_BEYOND_ASCII = re.compile(r"[^\n -~]+")


def printable(text: str) -> str:
    """
    The text as one line of the same length, with a space for everything that is not shown.

    That is what moves a cursor or starts a sequence (C0, C1, DEL), turns the direction of writing, ends a line or has
    no width.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_json(text: str) -> str:
    r"""
    JSON that means the same, with an escape such as \u202e for everything that `printable` would not let pass.

    Line breaks stay: outside of strings, where JSON has them, they are nobody's but the encoder's.
    """
    return _BEYOND_ASCII.sub(_escaped, text)


def _shown(character: str) -> str:
    return character if character.isprintable() else " "


def _escaped(found: re.Match[str]) -> str:
    text = found[0]
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
