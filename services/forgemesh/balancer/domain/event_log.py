"""The bounded memory of events from which watchers go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from forgemesh.balancer.domain.events import Event
from forgemesh.faults.routing import EventsCompacted


@dataclass(frozen=True, slots=True)
class Position:
    """A point in the order of events, which starts anew with each epoch."""

    epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event in its place; `at` is seconds since 1970."""

    position: Position
    at: float
    event: Event


class EventLog:
    """
    The newest events of an epoch, at most `limit` of them, numbered from 1.

    Nobody is waited for: a watcher reads on from where it was, and one that is too slow finds a gap.
    """

    def __init__(self, epoch: int, limit: int) -> None:
        self._epoch = epoch
        self._entries: deque[RecordedEvent] = deque(maxlen=limit)
        self._last = 0

    @property
    def last(self) -> Position:
        """That of the newest event."""
        return Position(self._epoch, self._last)

    @property
    def start(self) -> Position:
        """The one before the oldest event that is kept."""
        return Position(self._epoch, self._last - len(self._entries))

    def append(self, event: Event, at: float) -> RecordedEvent:
        """Remember the next event and, if need be, forget the oldest."""
        self._last += 1
        entry = RecordedEvent(self.last, at, event)
        self._entries.append(entry)
        return entry

    def after(self, seen: Position, most: int) -> Sequence[RecordedEvent]:
        """The first events behind `seen`, at most so many; raises EventsCompacted if some behind it are forgotten."""
        if seen.epoch != self._epoch or not self.start.number <= seen.number <= self._last:
            raise EventsCompacted(seen.epoch, seen.number)
        first = seen.number - self.start.number
        return tuple(islice(self._entries, first, first + most))
