"""A queue in which nobody who sends much holds up those who send little."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

AGEING = 10.0
"""Seconds of waiting that weigh as much as one step of priority."""
SLACK = 64
"""Leftovers that are not worth a clean-up."""

Rank: TypeAlias = tuple[float, int, int]
"""Smaller goes first."""


@dataclass(slots=True, eq=False)
class _Level:
    """Everything of one priority; `since` is when it was served last, or when the first of what waits came."""

    since: float
    waiting: int = 0
    virtual: int = 0
    finish: dict[Hashable, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Shares:
    """
    Who has had how much of something that several queues are served from.

    Within a priority: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with items of equal length. An item
    is stamped with start = max(virtual time, finish of its flow's item before), and finish = start + 1; the smallest
    start is served next, and is then the virtual time. So flows that wait take turns, each first come, first served,
    and one that comes anew comes next instead of last. What flows have had is cleaned up now and then, which gives some
    of them one turn more.

    Between priorities: the one with the highest priority + (now - since) / AGEING, where `since` is when it was served
    last, or when it began to wait (linear ageing, after Kleinrock's delay-dependent priorities, 1964). The order of two
    priorities does not depend on `now`, so that none of this needs a timer. A priority that is d steps below another
    one, of which there is always something, is served once in d * AGEING seconds.
    """

    _levels: dict[int, _Level] = field(default_factory=dict)
    _arrivals: int = 0

    def stamp(self, flow: Hashable, priority: int, now: float) -> tuple[int, int]:
        """Start and arrival number of an item that begins to wait."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level(now)
        finish = level.finish
        start = max(level.virtual, finish.get(flow, 0))
        finish[flow] = start + 1
        level.waiting += 1
        if len(finish) > 2 * level.waiting + SLACK:
            level.finish = {name: end for name, end in finish.items() if end > level.virtual + 1}
        self._arrivals += 1
        return start, self._arrivals

    def serve(self, priority: int, start: int, now: float) -> None:
        """An item waits no more because it was served."""
        level = self._levels[priority]
        level.virtual = max(level.virtual, start)
        level.since = now
        self.release(priority)

    def release(self, priority: int) -> None:
        """An item waits no more. When nothing of a priority waits, what its flows have had is forgotten."""
        level = self._levels[priority]
        level.waiting -= 1
        if not level.waiting:
            del self._levels[priority]

    def urgency(self, priority: int) -> float:
        """Of a priority of which something waits: the smaller, the more urgent."""
        return self._levels[priority].since - priority * AGEING


@dataclass(slots=True, eq=False)
class FairQueue(Generic[K, T]):
    """
    Items by unique key, in the order that `shares` gives them; queues with the same `shares` are fair to one another.

    Costs O(log n), and the number of different priorities among the items, which are few. Times are seconds.
    """

    shares: Shares = field(default_factory=Shares)
    _items: dict[K, tuple[int, int, int, T]] = field(default_factory=dict)
    """Priority, start, arrival number, item."""
    _heaps: dict[int, list[tuple[int, int, K]]] = field(default_factory=dict)
    """By priority: start, arrival number, key. What is not in `_items` any more is left over."""

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[T]:
        """In order of arrival."""
        for _, _, _, item in self._items.values():
            yield item

    def push(self, key: K, item: T, *, flow: Hashable, priority: int = 0, now: float = 0.0) -> None:
        """`key` must not be in the queue."""
        start, arrival = self.shares.stamp(flow, priority, now)
        self._items[key] = priority, start, arrival, item
        heappush(self._heaps.setdefault(priority, []), (start, arrival, key))

    def first(self) -> T:
        """What goes next; the queue must not be empty."""
        return self._items[self._heaps[self._first_priority()][0][2]][3]

    def rank(self) -> Rank:
        """Of what goes next: comparable among the queues of the same shares; the queue must not be empty."""
        priority = self._first_priority()
        start, arrival, _ = self._heaps[priority][0]
        return self.shares.urgency(priority), start, arrival

    def pop(self, now: float = 0.0) -> T:
        """Serve what goes next; the queue must not be empty."""
        priority = self._first_priority()
        start, _, key = heappop(self._heaps[priority])
        item = self._items.pop(key)[3]
        self.shares.serve(priority, start, now)
        self._clean(priority)
        return item

    def remove(self, key: K) -> T | None:
        """Take an item out, wherever it stands, without serving it."""
        found = self._items.pop(key, None)
        if found is None:
            return None
        priority = found[0]
        self.shares.release(priority)
        heap = self._heaps[priority]
        if len(heap) > 2 * len(self._items) + SLACK:
            heap[:] = [entry for entry in heap if self._stands(entry)]
            heapify(heap)
        self._clean(priority)
        return found[3]

    def position(self, key: K) -> int:
        """How many of this queue would go before it now, were nothing to come; looks at every item."""
        priority, start, arrival, _ = self._items[key]
        own = self.shares.urgency(priority), start, arrival
        return sum((self.shares.urgency(p), s, a) < own for p, s, a, _ in self._items.values())

    def _first_priority(self) -> int:
        if len(self._heaps) == 1:
            return next(iter(self._heaps))
        return min(self._heaps, key=lambda priority: (self.shares.urgency(priority), -priority))

    def _clean(self, priority: int) -> None:
        """Every heap begins with something that waits."""
        heap = self._heaps[priority]
        while heap and not self._stands(heap[0]):
            heappop(heap)
        if not heap:
            del self._heaps[priority]

    def _stands(self, entry: tuple[int, int, K]) -> bool:
        found = self._items.get(entry[2])
        return found is not None and found[2] == entry[1]
