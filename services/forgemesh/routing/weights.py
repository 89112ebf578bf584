"""What the share of each eligible instance is, by the policy in use."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.routing.eligibility import LocalView
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.policy import Policy
from forgemesh.routing.resource_based import limited, load_weights
from forgemesh.routing.slow_start import SlowStart
from forgemesh.routing.snapshot import Snapshot


def weights_of(
    policy: Policy, snapshot: Snapshot, eligible: Sequence[Endpoint], local: LocalView, now: float
) -> Sequence[float] | None:
    """The weights, all above zero; None: all alike."""
    weights: Sequence[float] | None = None
    if policy.heeds_weight:
        weights = limited([endpoint.weight for endpoint in eligible]) if snapshot.weighted else None
    elif policy.heeds_reports:
        weights = load_weights(eligible, local.loads)
    if now >= snapshot.warm_at or not eligible:
        return weights
    slow_start = snapshot.policy.slow_start
    parts = [part_of(endpoint, slow_start, now) for endpoint in eligible]
    if weights is None:
        return parts if min(parts) < max(parts) else None
    return [weight * part for weight, part in zip(weights, parts, strict=True)]


def part_of(endpoint: Endpoint, slow_start: SlowStart, now: float) -> float:
    """The part of its weight that the endpoint gets while it warms up."""
    return 1.0 if endpoint.warming_since is None else slow_start.part(now - endpoint.warming_since)
