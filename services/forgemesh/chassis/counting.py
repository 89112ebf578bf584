"""Counts what a message holds against the table of bounds, before anything is read from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from forgemesh.bounds import ALONE, APART, BOUNDS
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest

_LONGEST_KEY = 40


@dataclass(frozen=True, slots=True)
class Excess:
    """
    More than is taken: where (`requests[3].input.metadata`), of which field (its full name), how many there are up to
    there, and how many are taken.
    """

    place: str
    field: str
    count: int
    bound: int

    def __str__(self) -> str:
        return f"there are {self.count:,} of them in one message, at most {self.bound:,} are taken"


def refuse_excess(request: Any, size: int) -> None:
    """Raises InvalidRequest for a request of `size` encoded bytes that holds more of anything than is taken."""
    excess = excess_of(request, size)
    if excess is not None:
        raise InvalidRequest([Violation(excess.place, str(excess))])


def excess_of(message: Any, size: int | None = None) -> Excess | None:
    """
    The first field that holds more than the table says, None if there is none.

    Each list and each map is counted, which takes the same time however long it is, before anything in it is looked at.
    `size` is the message's encoded bytes, if they are known: few bytes cannot hold much.
    """
    plan = _plan_of(message.DESCRIPTOR)
    if size is not None and size < plan.root.least:
        return None
    try:
        _Count(plan.bounds, size).look(message, plan.root, plan.bounds.copy())
    except _TooMany as found:
        place = ".".join(reversed(found.places)).replace(".[", "[")
        return Excess(place, found.field, found.count, found.bound)
    return None


@dataclass(slots=True, eq=False)
class _Part:
    """
    What is counted in messages of one type: their lists and maps, each with the number of its bound; messages in them;
    and lists and maps whose entries hold something to count (apart from one another or not; in a map or not).

    A message that holds too much has at least `least` bytes.
    """

    counted: list[tuple[str, int, str]] = field(default_factory=list)
    messages: list[tuple[str, _Part]] = field(default_factory=list)
    entries: list[tuple[str, _Part, bool, bool]] = field(default_factory=list)
    least: int = 0


class _Plan(NamedTuple):
    root: _Part
    bounds: list[int]


class _TooMany(Exception):
    def __init__(self, place: str, field: str, count: int, bound: int) -> None:
        super().__init__(place)
        self.places = [place]
        self.field, self.count, self.bound = field, count, bound


class _Count:
    """One count of one message."""

    __slots__ = ("_bounds", "_size")

    def __init__(self, bounds: list[int], size: int | None) -> None:
        self._bounds = bounds
        self._size = size

    def look(self, message: Any, part: _Part, left: list[int]) -> None:
        """Raises _TooMany; `left` is what each field may still hold."""
        for name, number, full_name in part.counted:
            count = len(getattr(message, name))
            if count:
                left[number] -= count
                if left[number] < 0:
                    bound = self._bounds[number]
                    raise _TooMany(name, full_name, bound - left[number], bound)
        for name, inner in part.messages:
            if message.HasField(name):
                try:
                    self.look(getattr(message, name), inner, left)
                except _TooMany as found:
                    found.places.append(name)
                    raise
        for name, inner, apart, is_map in part.entries:
            if self._size is None or self._size >= inner.least:
                entries = getattr(message, name)
                self._look_into(name, entries.items() if is_map else enumerate(entries), inner, None if apart else left)

    def _look_into(self, name: str, entries: Iterable[tuple[object, Any]], part: _Part, left: list[int] | None) -> None:
        """Each entry; without `left` each may hold what a message may."""
        for key, entry in entries:
            try:
                self.look(entry, part, self._bounds.copy() if left is None else left)
            except _TooMany as found:
                found.places += [f"[{str(key)[:_LONGEST_KEY]}]", name]
                raise


@cache
def _plan_of(descriptor: Descriptor) -> _Plan:
    """What is counted in messages of this type; raises KeyError for a field that has no bound."""
    parts: dict[str, _Part] = {}
    numbers: dict[str, int] = {}
    for one in _types_in(descriptor):
        parts[one.full_name] = _Part(least=_least_bytes(one))
    for one in _types_in(descriptor):
        part = parts[one.full_name]
        for field_in in one.fields:
            if field_in.is_repeated:
                number = numbers.setdefault(field_in.full_name, len(numbers))
                part.counted.append((field_in.name, number, field_in.full_name))
            inner = _inner(field_in)
            if inner is None or field_in.full_name in ALONE or not parts[inner.full_name].least:
                continue
            if field_in.is_repeated:
                apart, is_map = field_in.full_name in APART, _is_map(field_in)
                part.entries.append((field_in.name, parts[inner.full_name], apart, is_map))
            else:
                part.messages.append((field_in.name, parts[inner.full_name]))
    return _Plan(parts[descriptor.full_name], [BOUNDS[name] for name in numbers])


def _types_in(descriptor: Descriptor) -> Iterator[Descriptor]:
    """The type and those of everything in it, each once."""
    seen: dict[str, Descriptor] = {descriptor.full_name: descriptor}
    following = [descriptor]
    while following:
        one = following.pop()
        yield one
        for field_in in one.fields:
            inner = _inner(field_in)
            if inner is not None and field_in.full_name not in ALONE and inner.full_name not in seen:
                seen[inner.full_name] = inner
                following.append(inner)


def _least_bytes(descriptor: Descriptor) -> int:
    """Of a message of this type that holds too much of something; 0 if there is nothing that it could hold."""
    return min(
        (
            (BOUNDS[one.full_name] + 1) * _least_of_one(one)
            for holder in _types_in(descriptor)
            for one in holder.fields
            if one.is_repeated
        ),
        default=0,
    )


def _least_of_one(field_in: FieldDescriptor) -> int:
    """Bytes of an entry; numbers may stand together without a word before each."""
    return 2 if field_in.cpp_type in (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE) else 1


def _inner(field_in: FieldDescriptor) -> Descriptor | None:
    """The type of the messages in a field or, if it is a map, of the messages that its keys stand for."""
    found = field_in.message_type
    return found.fields_by_name["value"].message_type if found is not None and _is_map(field_in) else found


def _is_map(field_in: FieldDescriptor) -> bool:
    return field_in.message_type is not None and field_in.message_type.GetOptions().map_entry
