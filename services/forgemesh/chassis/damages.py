"""Records of a database that cannot be read: the others are served, and these are named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from forgemesh.faults.service import DataCorrupted

Row = TypeVar("Row")
Record = TypeVar("Record")

_log = logging.getLogger(__name__)

MAX_NAMED = 1000
"""Damaged records that are named; whoever has more needs the backup for all of them."""


class Damages:
    """What a process has found damaged since it started. Each record is told once in its log."""

    def __init__(self) -> None:
        self._found: dict[str, DataCorrupted] = {}

    @property
    def messages(self) -> tuple[str, ...]:
        """Record and cause of each, in order of the records' names."""
        return tuple(self._found[record].message for record in sorted(self._found))

    def note(self, fault: DataCorrupted) -> None:
        """A record was found damaged, for the first time or again."""
        record = fault.metadata["record"]
        if record not in self._found and len(self._found) < MAX_NAMED:
            self._found[record] = fault
            _log.error("%s; everything else is served", fault.message, extra={"record": record})

    def sound(self, rows: Iterable[Row], read: Callable[[Row], Record]) -> list[Record]:
        """What `read` makes of each row, without the rows for which it raises DataCorrupted."""
        found: list[Record] = []
        for row in rows:
            try:
                found.append(read(row))
            except DataCorrupted as fault:
                self.note(fault)
        return found
