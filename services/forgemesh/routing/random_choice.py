"""Each eligible instance by chance, as often as its weight says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forgemesh.routing.endpoint import Endpoint


def drawn(eligible: Sequence[Endpoint], weights: Sequence[float] | None, draw: Callable[[], float]) -> Endpoint:
    """
    One of `eligible` (not empty), by one number of `draw` in [0, 1) and the weights (above 0, finite; None: all alike).

    Callers that know nothing of one another and make few calls each spread them evenly in sum, which turns do only
    within one caller.
    """
    if len(eligible) == 1:
        return eligible[0]
    if weights is None:
        return eligible[int(draw() * len(eligible))]
    left = draw() * sum(weights)
    for endpoint, weight in zip(eligible, weights, strict=True):
        left -= weight
        if left < 0:
            return endpoint
    return eligible[-1]  # what rounding has left over
