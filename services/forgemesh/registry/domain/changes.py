"""What changes in the registry, and the bounded memory of it from which watches go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TypeAlias

from forgemesh.faults.registry import RevisionCompacted
from forgemesh.registry.domain.instance import Registration, Revision


class GoneReason(Enum):
    """Why an instance is gone."""

    DEREGISTERED = "deregistered"
    EXPIRED = "its lease expired"


@dataclass(frozen=True, slots=True)
class Changed:
    """An instance appeared or changed."""

    revision: int
    registration: Registration

    @property
    def instance_id(self) -> str:
        return self.registration.instance.instance_id


@dataclass(frozen=True, slots=True)
class Gone:
    """An instance is gone."""

    revision: int
    instance_id: str
    incarnation: int
    reason: GoneReason


Change: TypeAlias = Changed | Gone


class ChangeLog:
    """The newest changes, at most `limit` of them, one for each revision after `revision`."""

    def __init__(self, epoch: int, revision: int, limit: int) -> None:
        self._epoch = epoch
        self._revision = revision
        self._changes: deque[Change] = deque(maxlen=limit)

    def append(self, change: Change) -> None:
        """Remember the next change and, if need be, forget the oldest."""
        assert change.revision == self._revision + 1
        self._changes.append(change)
        self._revision = change.revision

    def after(self, seen: Revision) -> Sequence[Change]:
        """The changes after `seen`, in order; raises RevisionCompacted if not all of them are remembered."""
        missing = self._revision - seen.revision
        if seen.epoch != self._epoch or not 0 <= missing <= len(self._changes):
            raise RevisionCompacted(seen.epoch, seen.revision)
        return tuple(islice(self._changes, len(self._changes) - missing, None)) if missing else ()
