"""The trial calls of a half-open circuit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from forgemesh.routing.outcome import CallFailure

MOST_LOST = 3
"""So many permits lost, with no word about any other between them, end the trial."""


class Lease(NamedTuple):
    """A permit that is out, until a moment on the monotonic clock."""

    permit_id: str
    until: float


@dataclass(frozen=True, slots=True)
class Trials:
    """Permits that are `out`, what became of others, and how many in a row were `lost`: nobody spoke of them again."""

    out: tuple[Lease, ...] = ()
    succeeded: int = 0
    failed: int = 0
    lost: int = 0
    last_failure: CallFailure | None = None

    @property
    def settled(self) -> int:
        """Trial calls that said something."""
        return self.succeeded + self.failed

    def holds(self, permit_id: str) -> bool:
        """Whether the permit is out."""
        return any(lease.permit_id == permit_id for lease in self.out)

    def granted(self, permit_id: str, until: float) -> Self:
        """With one more permit out."""
        return replace(self, out=(*self.out, Lease(permit_id, until)))

    def extended(self, permit_id: str, until: float) -> Self:
        """With more time for a permit that is out."""
        out = [
            Lease(permit_id, max(until, lease.until)) if lease.permit_id == permit_id else lease for lease in self.out
        ]
        return replace(self, out=tuple(out))

    def without(self, permit_id: str) -> Self:
        """A permit that is out is lost: its holder is gone."""
        return replace(self.returned(permit_id), lost=self.lost + 1)

    def returned(self, permit_id: str) -> Self:
        """Without a permit that says nothing; its holder is alive."""
        return replace(self, out=tuple(lease for lease in self.out if lease.permit_id != permit_id), lost=0)

    def ended(self, permit_id: str, ok: bool, failure: CallFailure | None) -> Self:
        """With the outcome of a trial call whose permit is out."""
        left = self.returned(permit_id)
        if ok:
            return replace(left, succeeded=self.succeeded + 1)
        return replace(left, failed=self.failed + 1, last_failure=failure or self.last_failure)

    def at(self, now: float) -> Self:
        """Without the permits whose time is over at `now`."""
        left = tuple([lease for lease in self.out if lease.until > now])
        gone = len(self.out) - len(left)
        return replace(self, out=left, lost=self.lost + gone) if gone else self


NO_TRIALS = Trials()
