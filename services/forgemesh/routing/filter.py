"""Those of a snapshot that a caller may use for one call, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from forgemesh.notation.version_range import any_version
from forgemesh.routing.eligibility import (
    Exclusion,
    LocalView,
    Terms,
    has_room,
    local_exclusion,
    permit_for,
)
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.snapshot import Snapshot

Reasons: TypeAlias = list[tuple[str, Exclusion]]


class FilteredEndpoints(NamedTuple):
    """
    What is left of a snapshot: `eligible` of the most preferred tier, the half-open `trials` of any tier on which a
    trial call may be made, and what is against other open endpoints.
    """

    eligible: Sequence[Endpoint]
    trials: Sequence[Endpoint]
    excluded: Reasons


def filter_endpoints(snapshot: Snapshot, local: LocalView, terms: Terms) -> FilteredEndpoints:
    """Those that the call may go to; those that were tried already are among them only if there is nobody else."""
    filtered = _filter_once(snapshot, local, terms)
    if terms.tried and not (filtered.eligible or filtered.trials):
        filtered = _filter_once(snapshot, local, terms._replace(tried=frozenset()))
    if not snapshot.tiered or not filtered.eligible:
        return filtered
    best = min([endpoint.tier for endpoint in filtered.eligible])
    lower = [(endpoint.instance_id, Exclusion.TIER) for endpoint in filtered.eligible if endpoint.tier != best]
    if not lower:
        return filtered
    preferred = [endpoint for endpoint in filtered.eligible if endpoint.tier == best]
    return FilteredEndpoints(preferred, filtered.trials, filtered.excluded + lower)


def nothing_against(snapshot: Snapshot, local: LocalView, now: float) -> bool:
    """Whether all open endpoints, and there are any, are alike to a call that asks for nothing: as for most steps."""
    if snapshot.tiered or not snapshot.open or now < snapshot.warm_at:
        return False
    if local.lost or local.tripped or local.full:
        return False
    return not snapshot.least_cap or _within(snapshot.least_cap, local)


def _filter_once(snapshot: Snapshot, local: LocalView, terms: Terms) -> FilteredEndpoints:
    trials: Sequence[Endpoint] = ()
    if terms.trial and local.permits and snapshot.half_open:
        trials = [e for e in snapshot.half_open if permit_for(e, local) and not local_exclusion(e, local, terms)]
    candidates, full = snapshot.open, local.full
    if terms.wanted is not any_version or terms.tried or terms.weighs or local.lost or local.tripped:
        judged = [(endpoint, local_exclusion(endpoint, local, terms)) for endpoint in candidates]
        excluded = [(endpoint.instance_id, reason) for endpoint, reason in judged if reason]
        return FilteredEndpoints([endpoint for endpoint, reason in judged if reason is None], trials, excluded)
    if not _within(snapshot.least_cap, local):
        full = {e.instance_id for e in candidates if not has_room(e, local, terms.memory, terms.now)}
    if not full:
        return FilteredEndpoints(candidates, trials, [])
    eligible = [endpoint for endpoint in candidates if endpoint.instance_id not in full]
    return FilteredEndpoints(
        eligible, trials, [(e.instance_id, Exclusion.FULL) for e in candidates if e.instance_id in full]
    )


def _within(least_cap: int, local: LocalView) -> bool:
    """Whether certainly nobody is at its cap; this looks at no endpoint, since it is asked for every step."""
    if not least_cap:
        return True
    mine = max(local.in_flight.values(), default=0)
    others = max(map(_OTHERS, local.loads.values())) if local.loads else 0
    return mine + others < least_cap


_OTHERS = attrgetter("others")
