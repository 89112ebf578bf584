"""Whose turn it is: known to the next process if this one does not come back from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

REMEMBERED = 32
"""Executions of which it is known that a process did not come back from their turn."""
LENGTH = 1 + 2 * REMEMBERED
ALLOWED = 2
"""So often in a row an execution may keep an orchestrator from serving."""


class Slots(Protocol):
    """Numbers from 0 to 2 ** 64 - 1 by their place."""

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, number: int, /) -> None: ...


class Turns:
    """
    The key of the execution whose turn it is stands in `slots[0]`, and behind it pairs of a key and how often in a row
    a process did not come back from that execution's turn: it was killed because it hung, or it ran out of memory.
    `slots` are LENGTH numbers that outlive the process; zeros at first. A turn that ends clears what was counted.
    """

    def __init__(self, slots: Slots | None = None) -> None:
        self._slots: Slots = slots if slots is not None else [0] * LENGTH
        pairs = ((self._slots[at], self._slots[at + 1]) for at in range(1, LENGTH, 2))
        self._counted = {key: count for key, count in pairs if key}
        last = self._slots[0]
        if last:
            self._counted[last] = self._counted.pop(last, 0) + 1
            self._write()
        self._slots[0] = 0
        self.set_aside: dict[tuple[str, str], str] = {}
        """Executions that nobody takes up any more, by namespace and id, and why."""

    def is_set_aside(self, key: int) -> bool:
        """Whether it has kept orchestrators from serving as often as is allowed."""
        return self._counted.get(key, 0) >= ALLOWED

    def enter(self, key: int) -> None:
        """The turn of an execution begins; 0 is one that is not written yet."""
        self._slots[0] = key

    def leave(self, key: int) -> None:
        """It has ended."""
        self._slots[0] = 0
        if key in self._counted:
            self.forget(key)

    @contextlib.contextmanager
    def turn(self, key: int) -> Iterator[None]:
        """The same around a block."""
        self.enter(key)
        try:
            yield
        finally:
            self.leave(key)

    def forget(self, key: int) -> None:
        """Nothing is held against it any more."""
        self._counted.pop(key, None)
        self._write()

    def _write(self) -> None:
        """The newest ones, if there are too many."""
        kept = list(self._counted.items())[-REMEMBERED:]
        flat = [number for pair in kept for number in pair]
        for at, number in enumerate(flat + [0] * (LENGTH - 1 - len(flat)), start=1):
            self._slots[at] = number
