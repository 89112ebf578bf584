"""Permits for trial calls: each is good for one call, and only as long as no newer one has been seen."""

from __future__ import annotations

from dataclasses import dataclass, field

REMEMBERED = 4096
"""How many used permits of one generation are known again."""
LONGEST = 256
FENCE = 60.0
"""
Seconds for which a generation that was used shuts out older ones; a permit's lease is much shorter.

Not for ever: a balancer that starts with nothing to go by counts anew.
"""


@dataclass(slots=True)
class UsedPermits:
    """
    Which permits an instance has made calls for, kept in place; moments are seconds of one clock that only grows.

    A circuit counts its generations anew with each incarnation of its instance.
    """

    _newest: tuple[int, int] = (0, 0)
    _used: dict[str, None] = field(default_factory=dict)
    _last: float = 0.0

    def refusal(self, permit_id: str, incarnation: int, generation: int, now: float) -> str:
        """Why no call may be made for this permit; empty if one may."""
        if not permit_id:
            return "it has no name"
        if len(permit_id) > LONGEST:
            return f"its name has more than {LONGEST} characters"
        if permit_id in self._used:
            return "a call was made for it already"
        if (incarnation, generation) < self._newest and now - self._last < FENCE:
            newest, known = self._newest
            later = f"generation {known}" if incarnation == newest else f"incarnation {newest}"
            return f"it is of generation {generation} and the circuit is at {later} by now"
        return ""

    def use(self, permit_id: str, incarnation: int, generation: int, now: float) -> None:
        """A call is made for a permit against which there is nothing."""
        if (incarnation, generation) != self._newest:
            self._newest = (incarnation, generation)
            self._used.clear()
        self._used[permit_id] = None
        self._last = now
        if len(self._used) > REMEMBERED:
            del self._used[next(iter(self._used))]
