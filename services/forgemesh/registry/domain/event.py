"""What happens to plugins and instances, and the bounded memory of it from which watchers go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from forgemesh.faults.registry import RevisionCompacted
from forgemesh.registry.domain.instance import Revision


class Kind(Enum):
    """What the registry itself has to tell."""

    PUBLISHED = "published"
    REGISTERED = "registered"
    DRAINING = "draining"
    DEREGISTERED = "deregistered"
    EXPIRED = "expired"
    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    QUARANTINED = "quarantined"
    RELEASED = "released"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    WANTED = "wanted"
    PRESERVING = "preserving"
    PRESERVED = "preserved"
    CONTESTED = "contested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `at` is seconds since 1970, empty texts and 0 are nothing in particular."""

    kind: Kind
    at: float
    message: str
    plugin_id: str = ""
    plugin_version: str = ""
    instance_id: str = ""
    incarnation: int = 0
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reported:
    """What somebody else has seen, in the form in which it came."""

    plugin_id: str
    content: bytes


class EventLog:
    """
    The newest events, at most `limit` of them, numbered from 1 within an epoch.

    Not durable: each start of the registry begins an epoch of its own, and whoever watched is told to begin anew.
    """

    def __init__(self, epoch: int, limit: int) -> None:
        self._epoch = epoch
        self._events: deque[Event | Reported] = deque(maxlen=limit)
        self._last = 0

    @property
    def position(self) -> Revision:
        """That of the last event."""
        return Revision(self._epoch, self._last)

    def append(self, event: Event | Reported) -> None:
        """Remember the next event and, if need be, forget the oldest."""
        self._events.append(event)
        self._last += 1

    def after(self, seen: Revision) -> Sequence[tuple[Revision, Event | Reported]]:
        """The events after `seen`, in order, with their positions; raises RevisionCompacted if some are forgotten."""
        missing = self._last - seen.revision
        if seen.epoch != self._epoch or not 0 <= missing <= len(self._events):
            raise RevisionCompacted(seen.epoch, seen.revision)
        found = islice(self._events, len(self._events) - missing, None)
        return [(Revision(self._epoch, seen.revision + 1 + index), event) for index, event in enumerate(found)]
