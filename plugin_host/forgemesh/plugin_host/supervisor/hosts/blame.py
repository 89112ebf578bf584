"""Which crashes speak against a plugin, and which against the calls that ran in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

MOST_SUSPECTS = 200
"""Calls that are remembered; of more the oldest suspicion is forgotten."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """
    A call that ran when `crashes` processes ended, `alone` in so many of them; the last one said `last_words`, and
    ended at `at` (seconds).
    """

    key: bytes
    crashes: int
    alone: int
    last_words: str
    at: float


class Blame:
    """
    The calls that ran when processes of one plugin ended, over all its instances; `within` and `at` are seconds.

    A crash counts against the plugin unless a call ran that had run in an earlier one: however often the attempts at
    one call end a process, that is one crash of the plugin. A call is poison once `poison_after` processes have ended
    while it ran, in one of them nothing else; it is run alone when the next crash would be that one, so that those who
    only stood beside it are told apart. With 0 no call is poison, and
    every crash counts. What is older than `within` is forgotten.
    """

    def __init__(self, poison_after: int, within: float) -> None:
        self.poison_after = poison_after
        self._within = within
        self._suspects: dict[bytes, Suspect] = {}

    def crashed(self, running: Collection[bytes], last_words: str, at: float) -> bool:
        """A process ended that nobody asked to, while these calls ran; whether that counts against the plugin."""
        self._forget(at)
        again = any(key in self._suspects for key in running)
        for key in running:
            before = self._suspects.pop(key, Suspect(key, 0, 0, "", at))
            alone = before.alone + (len(running) == 1)
            self._suspects[key] = replace(before, crashes=before.crashes + 1, alone=alone, last_words=last_words, at=at)
        while len(self._suspects) > MOST_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        return not again or not self.poison_after

    def suspects(self, at: float) -> Iterator[Suspect]:
        """Those that are suspected now."""
        self._forget(at)
        yield from self._suspects.values()

    def is_alone(self, suspect: Suspect) -> bool:
        """Whether nothing is to run beside it."""
        return bool(self.poison_after) and suspect.crashes >= max(1, self.poison_after - 1)

    def is_poison(self, suspect: Suspect) -> bool:
        """Whether it is not to run any more."""
        return bool(self.poison_after) and suspect.crashes >= self.poison_after and suspect.alone > 0

    def forgive(self) -> None:
        """Somebody has mended something: suspect nobody."""
        self._suspects.clear()

    def _forget(self, at: float) -> None:
        for key in [key for key, suspect in self._suspects.items() if at - suspect.at >= self._within]:
            del self._suspects[key]
