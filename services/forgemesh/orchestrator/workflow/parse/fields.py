"""Reading a document's tree field by field, with every mistake collected together with its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from forgemesh.faults import Violation
from forgemesh.language.json_value import shown
from forgemesh.notation.duration import exact_seconds

Place: TypeAlias = tuple[str | int, ...]

MAX_MISTAKES = 200
"""Of one document; whoever mends so many learns of the others then."""
_YEAR = Fraction(366 * 86400)
_NANOSECOND = Fraction(1, 1_000_000_000)
_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    dict: "a mapping",
    list: "a list",
    bool: "true or false",
}


class TooManyMistakes(Exception):
    """A document has so many mistakes that reading on helps nobody."""


@dataclass(slots=True)
class Mistakes:
    """
    What is wrong with a document.

    `position` gives line and column, counting from 1, of what stands so many characters into the text at a place.
    """

    position: Callable[[Place, int], tuple[int, int] | None] = lambda place, offset: None
    found: list[Violation] = field(default_factory=list)

    def add(self, place: Place, message: str, *, offset: int = 0) -> None:
        """`offset` counts the characters before the mistake in the text at `place`. Raises TooManyMistakes."""
        if len(self.found) == MAX_MISTAKES:
            raise TooManyMistakes
        self.found.append(Violation(spell(place), f"{self.where(place, offset)}{message}"))

    def where(self, place: Place, offset: int = 0) -> str:
        """Line and column for people, as the beginning of a message; empty if they are not known."""
        position = self.position(place, offset)
        return f"line {position[0]}, column {position[1]}: " if position is not None else ""


def spell(place: Place) -> str:
    """A place for people, e.g. steps[2].call.plugin."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "document"


@dataclass(slots=True)
class Fields:
    """The fields of one mapping; each is taken once, and what nobody takes is a mistake."""

    tree: Mapping[str, object]
    place: Place
    mistakes: Mistakes
    taken: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        """Whether something is said there; null says nothing."""
        return self.tree.get(key) is not None

    def take(self, key: str) -> object | None:
        """The raw value, or None if it is absent."""
        self.taken.add(key)
        return self.tree.get(key)

    def text(self, key: str, *, required: bool = False, default: str = "") -> str:
        value = self._typed(key, str, required=required)
        return value if isinstance(value, str) else default

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        value = self._typed(key, int)
        if isinstance(value, int) and not low <= value <= high:
            self.mistakes.add((*self.place, key), f"{value} is not between {low} and {high}")
        return value if isinstance(value, int) else default

    def flag(self, key: str) -> bool | None:
        """True, false, or None if it is absent."""
        value = self._typed(key, bool)
        return value if isinstance(value, bool) else None

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.mistakes.add((*self.place, key), f"{shown(value)} is not a number between {low:g} and {high:g}")
            return default
        return float(value)

    def seconds(self, key: str, default: float | None) -> float | None:
        """A duration such as 200ms, 5s, 2m, 1h, 1d, above zero and at most a year."""
        value = self.take(key)
        if value is None:
            return default
        seconds = exact_seconds(value) if isinstance(value, str) else None
        if seconds is None or not _NANOSECOND <= seconds <= _YEAR:
            self.mistakes.add((*self.place, key), f"{shown(value)} is not a duration such as 200ms, 5s, 2m, 1h or 1d")
            return default
        return float(seconds)

    def mapping(self, key: str, *, required: bool = False) -> Fields | None:
        value = self._typed(key, dict, required=required)
        return Fields(value, (*self.place, key), self.mistakes) if isinstance(value, dict) else None

    def items(self, key: str, *, required: bool = False) -> list[object]:
        value = self._typed(key, list, required=required)
        return value if isinstance(value, list) else []

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        value = self.text(key, default=default)
        if value not in choices:
            self.mistakes.add((*self.place, key), f"{shown(value)} is none of {', '.join(choices)}")
            return default
        return value

    def finish(self) -> None:
        """Refuse what nobody took."""
        for key in self.tree:
            if key not in self.taken:
                self.mistakes.add((*self.place, key), f"unknown key{suggestion(str(key), self.taken)}")

    def _typed(self, key: str, wanted: type, *, required: bool = False) -> object | None:
        value = self.take(key)
        if value is None:
            if required:
                self.mistakes.add((*self.place, key), f"{key} is missing")
            return None
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            self.mistakes.add((*self.place, key), f"{key} must be {_NAMES[wanted]}, not {shown(value, 60)}")
            return None
        return value


def suggestion(word: str, known: Collection[str]) -> str:
    """What the author may have meant."""
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
