"""Why a pick went as it did: what spoke for and against each instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forgemesh.notation.version_range import any_version
from forgemesh.routing.eligibility import Exclusion, LocalView, Terms
from forgemesh.routing.filter import filter_endpoints
from forgemesh.routing.least_connections import load_of
from forgemesh.routing.snapshot import Snapshot
from forgemesh.routing.weights import part_of, weights_of


@dataclass(frozen=True, slots=True)
class PickExplanation:
    """
    What stands against an instance, if anything; the calls under way there, as far as the caller believes in them; and
    the weight by which it is compared with its siblings, 1 if the policy looks at none.
    """

    instance_id: str
    exclusion: Exclusion | None
    in_flight: int
    weight: float


def explain_pick(
    snapshot: Snapshot,
    local: LocalView,
    *,
    operation: str = "",
    wanted: Callable[[str], bool] = any_version,
    exclude: frozenset[str] = frozenset(),
    trial: bool = False,
    now: float = 0.0,
) -> tuple[PickExplanation, ...]:
    """What a pick on the same terms goes by, ordered by instance id."""
    rules = snapshot.policy
    policy = rules.pick_of(operation)
    terms = Terms(wanted, exclude, trial, snapshot.weightless and policy.heeds_weight, rules.load_memory, now)
    eligible, trials, excluded = filter_endpoints(snapshot, local, terms)
    weights = weights_of(policy, snapshot, eligible, local, now)
    weighed = dict(zip([e.instance_id for e in eligible], weights or [1.0] * len(eligible), strict=True))
    against = dict((*snapshot.ruled_out, *excluded))
    for endpoint in trials:
        del against[endpoint.instance_id]
    return tuple(
        PickExplanation(
            endpoint.instance_id,
            against.get(endpoint.instance_id),
            round(load_of(endpoint, local, rules.load_memory, now)),
            float(weighed.get(endpoint.instance_id, part_of(endpoint, rules.slow_start, now))),
        )
        for endpoint in snapshot.endpoints
    )
