"""Picks of callers that do not subscribe: what they ask for, and which of them are still under way."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.outcome import CallFailure, CountKey
from forgemesh.routing.pick_explanation import PickExplanation
from forgemesh.routing.policy import Policy

LEASE = 60.0
LONGEST_LEASE = 3600.0
"""Seconds for which a pick counts that nobody settles, and that it may count at most."""
MOST = 100_000
"""Picks under way at a time; beyond that those whose lease ends first are over before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """
    What a caller asks for; `lease` (seconds) is None if it did not say.

    `trial`: the call is safe to repeat, so it may be a trial call on a half-open circuit.
    """

    plugin_id: str
    version_range: str = ""
    operation: str = ""
    affinity: str = ""
    exclude: frozenset[str] = frozenset()
    caller_id: str = ""
    lease: float | None = None
    explain: bool = False
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """An instance for one call; with a permit the call is a trial of the circuit in this generation."""

    pick_id: str
    endpoint: Endpoint
    policy: Policy
    permit_id: str = ""
    explanations: Sequence[PickExplanation] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a picked call ended: canonical code, seconds that it took, and that it was given if the caller said so."""

    code: int
    took: float
    given: float | None = None
    failure: CallFailure | None = None


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A pick that is not settled; it counts until the moment `until`, on the balancer's clock."""

    pick_id: str
    key: CountKey
    operation: str
    caller_id: str
    permit_id: str
    until: float


class OutstandingPicks:
    """The picks under way."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._picks: dict[str, Outstanding] = {}
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._picks)

    def add(self, pick: Outstanding) -> None:
        """A pick is under way."""
        self._picks[pick.pick_id] = pick
        heapq.heappush(self._ends, (pick.until, pick.pick_id))

    def settle(self, pick_id: str, now: float) -> Outstanding | None:
        """The pick, which is over with this; None if it is unknown, or over already."""
        pick = self._picks.get(pick_id)
        if pick is None or pick.until <= now:
            return None
        del self._picks[pick_id]
        if len(self._ends) > 2 * len(self._picks) + 1000:
            self._ends = [(one.until, one.pick_id) for one in self._picks.values()]
            heapq.heapify(self._ends)
        return pick

    def lost(self, now: float) -> list[Outstanding]:
        """Those whose lease is over, and those that are too many; they are over with this."""
        found = []
        while (end := self.next_end()) is not None and (end <= now or len(self._picks) > self._most):
            found.append(self._picks.pop(heapq.heappop(self._ends)[1]))
        return found

    def next_end(self) -> float | None:
        """When the next lease is over."""
        while self._ends and self._ends[0][1] not in self._picks:
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else None
