"""How large a value of an expression may be."""

from __future__ import annotations

import msgspec


class Extent:
    """
    A bound for the size of a value: `parts` are the scalars in it, `bytes` its length as JSON. Of a value that is known
    they are worked out once they are asked for. Of a list that is made, `made` tells how long it is and what is true of
    each element.
    """

    __slots__ = ("_bytes", "_parts", "known", "made", "value")

    def __init__(
        self,
        parts: float,
        size: float,
        value: object = None,
        *,
        known: bool = False,
        made: tuple[float, Extent] | None = None,
    ) -> None:
        self._parts = parts
        self._bytes = size
        self.value = value
        self.known = known
        self.made = made

    @classmethod
    def of(cls, value: object) -> Extent:
        """Of a JSON-like value."""
        return cls(0, 0, value, known=True)

    @property
    def parts(self) -> float:
        self._measure()
        return self._parts

    @property
    def bytes(self) -> float:
        self._measure()
        return self._bytes

    @property
    def text(self) -> str | None:
        """The text itself, if it is known to be one."""
        return self.value if self.known and isinstance(self.value, str) else None

    def _measure(self) -> None:
        if self._parts:
            return
        data = msgspec.json.encode(self.value)
        self._bytes = max(32, len(data))
        inner = data.count(b",") + data.count(b":") if isinstance(self.value, list | dict) else 0
        self._parts = 1 + inner


SMALL = Extent(1, 32)


def below(extent: Extent, key: str) -> Extent:
    """Of what stands under a key."""
    if not extent.known:
        return extent
    return Extent.of(extent.value[key]) if isinstance(extent.value, dict) and key in extent.value else SMALL


def length(extent: Extent) -> float:
    """How many elements a list or a map has at most."""
    if extent.made is not None:
        return extent.made[0]
    if not extent.known:
        return extent.parts
    return len(extent.value) if isinstance(extent.value, list | dict) else 0


def element(extent: Extent) -> Extent:
    """What is true of each element of a list, or each key of a map."""
    if extent.made is not None:
        return extent.made[1]
    if not extent.known:
        return extent
    return largest([Extent.of(one) for one in extent.value] if isinstance(extent.value, list | dict) else [])


def together(extents: list[Extent]) -> Extent:
    """Of a value that is made of all of them."""
    return Extent(sum(one.parts for one in extents) + 1, sum(one.bytes for one in extents) + 32)


def largest(extents: list[Extent]) -> Extent:
    """Of one of them."""
    if len(extents) == 1:
        return extents[0]
    lists = [one.made for one in extents if one.made is not None]
    made = None
    if lists and len(lists) == len(extents):
        made = (max(length for length, _ in lists), largest([each for _, each in lists]))
    return Extent(
        max([one.parts for one in extents], default=1), max([one.bytes for one in extents], default=32), made=made
    )
