"""Whose turn it is: known to the next process if this one does not come back from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

REMEMBERED = 32
"""Executions of which it is known that a process did not come back from their turn."""
LENGTH = 1 + 2 * REMEMBERED
LONGEST = 0.1
"""Seconds after which the others have waited for long enough."""
ALLOWED = 2
"""So often in a row an execution may keep an orchestrator from serving."""


class Slots(Protocol):
    """Numbers from 0 to 2 ** 64 - 1 by their place."""

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, number: int, /) -> None: ...


class TurnMarker:
    """
    The key of the execution whose turn it is stands in `slots[0]`, and behind it pairs of a key and how often in a row
    a process did not come back from that execution's turn: it was killed because it hung, or it ran out of memory.
    `slots` are LENGTH numbers that outlive the process; zeros at first. A turn that ends clears what was counted.
    `clock` gives seconds.
    """

    def __init__(self, slots: Slots | None = None, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._entered = 0.0
        self._slots: Slots = slots if slots is not None else [0] * LENGTH
        pairs = ((self._slots[at], self._slots[at + 1]) for at in range(1, LENGTH, 2))
        self._counted = {key: count for key, count in pairs if key}
        last = self._slots[0]
        if last:
            self._counted[last] = self._counted.pop(last, 0) + 1
            self._write()
        self._slots[0] = 0

    def keeps_hanging(self, key: int) -> bool:
        """Whether it has kept orchestrators from serving as often as is allowed."""
        return self._counted.get(key, 0) >= ALLOWED

    def enter(self, key: int) -> None:
        """The turn of an execution begins; 0 is one that is not written yet."""
        self._slots[0] = key
        self._entered = self._clock()

    def is_long(self) -> bool:
        """Whether the turn has taken as long as one may: what is left of it comes in another one."""
        return self._clock() - self._entered > LONGEST

    def leave(self, key: int) -> None:
        """It has ended."""
        self._slots[0] = 0
        if key in self._counted:
            self.forget(key)

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
