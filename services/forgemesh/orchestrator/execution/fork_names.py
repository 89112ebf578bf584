"""What steps, effects and items of an origin are called in its fork."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from forgemesh.orchestrator.values.payload import Payload

_MARK = "~"


def iterations_in(path: str) -> tuple[list[str], list[int]]:
    """The maps around a step, the outermost first, and which of their iterations it is in."""
    parts = path.split("/")
    places = [place for place, part in enumerate(parts) if part.isdigit()]
    return ["/".join(parts[:place]) for place in places], [int(parts[place]) for place in places]


def items_told_apart(items: Iterable[Payload], *, by_index: bool) -> list[str]:
    """
    Of each item of a list, what tells it from those that are not equal to it: a digest of its value, and which of the
    equal ones it is. `by_index`: its place counts as well, since what is done with it depends on that.
    """
    told: list[str] = []
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        digest = _digest(item)
        number = seen[digest] = seen.get(digest, 0) + 1
        told.append(f"{digest}.{number}.{index}" if by_index else f"{digest}.{number}")
    return told


def _digest(item: Payload) -> str:
    """Equal for equal values; the order of keys does not count, 1 is neither 1.0 nor "1"."""
    value = msgspec.json.encode(item.value(), order="sorted")
    return hashlib.sha256(value).hexdigest()[:32]


def name_in_fork(path: str) -> str:
    """
    What an effect is called in the fork that takes it over. Iterations get a mark, "check/17~1/rain", since the fork
    may have an iteration of the same index for another item; each further fork counts it up.
    """
    return "/".join(_marked(part) if part[:1].isdigit() else part for part in path.split("/"))


def _marked(part: str) -> str:
    index, _, mark = part.partition(_MARK)
    return f"{index}{_MARK}{int(mark or 0) + 1}"


def name_in_origin(path: str) -> str:
    """The reverse of `name_in_fork`."""
    return "/".join(_unmarked(part) if part[:1].isdigit() else part for part in path.split("/"))


def _unmarked(part: str) -> str:
    index, _, mark = part.partition(_MARK)
    return f"{index}{_MARK}{int(mark) - 1}" if int(mark) > 1 else index
