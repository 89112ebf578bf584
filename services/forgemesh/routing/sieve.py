"""Those of a snapshot that a caller may use for one call, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from forgemesh.routing.eligibility import (
    Exclusion,
    LocalView,
    Terms,
    any_version,
    has_room,
    local_exclusion,
    permit_for,
)
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.snapshot import Snapshot

Reasons: TypeAlias = list[tuple[str, Exclusion]]


class Sieved(NamedTuple):
    """
    What is left of a snapshot: `eligible` of the most preferred tier, the half-open `trials` of any tier on which a
    trial call may be made, and what is against other open endpoints.
    """

    eligible: Sequence[Endpoint]
    trials: Sequence[Endpoint]
    excluded: Reasons


def sieve(snapshot: Snapshot, local: LocalView, terms: Terms) -> Sieved:
    """Those that the call may go to; those that were tried already are among them only if there is nobody else."""
    sieved = _strained(snapshot, local, terms)
    if terms.tried and not (sieved.eligible or sieved.trials):
        sieved = _strained(snapshot, local, terms._replace(tried=frozenset()))
    if not snapshot.tiered or not sieved.eligible:
        return sieved
    best = min([endpoint.tier for endpoint in sieved.eligible])
    lower = [(endpoint.instance_id, Exclusion.TIER) for endpoint in sieved.eligible if endpoint.tier != best]
    if not lower:
        return sieved
    preferred = [endpoint for endpoint in sieved.eligible if endpoint.tier == best]
    return Sieved(preferred, sieved.trials, sieved.excluded + lower)


def _strained(snapshot: Snapshot, local: LocalView, terms: Terms) -> Sieved:
    trials: Sequence[Endpoint] = ()
    if terms.trial and local.permits and snapshot.half_open:
        trials = [e for e in snapshot.half_open if permit_for(e, local) and not local_exclusion(e, local, terms)]
    candidates, full = snapshot.open, local.full
    if terms.wanted is not any_version or terms.tried or terms.weighs or local.lost or local.tripped:
        judged = [(endpoint, local_exclusion(endpoint, local, terms)) for endpoint in candidates]
        excluded = [(endpoint.instance_id, reason) for endpoint, reason in judged if reason]
        return Sieved([endpoint for endpoint, reason in judged if reason is None], trials, excluded)
    if not _within(snapshot.least_cap, local):
        full = {e.instance_id for e in candidates if not has_room(e, local, terms.memory, terms.now)}
    if not full:
        return Sieved(candidates, trials, [])
    eligible = [endpoint for endpoint in candidates if endpoint.instance_id not in full]
    return Sieved(eligible, trials, [(e.instance_id, Exclusion.FULL) for e in candidates if e.instance_id in full])


def _within(least_cap: int, local: LocalView) -> bool:
    """Whether certainly nobody is at its cap; this looks at no endpoint, since it is asked for every step."""
    if not least_cap:
        return True
    mine = max(local.in_flight.values(), default=0)
    others = max(map(_OTHERS, local.loads.values())) if local.loads else 0
    return mine + others < least_cap


_OTHERS = attrgetter("others")
