"""The less loaded of two instances that chance names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forgemesh.routing.eligibility import LocalView, believed
from forgemesh.routing.endpoint import Endpoint


def less_loaded(
    eligible: Sequence[Endpoint],
    weights: Sequence[float] | None,
    local: LocalView,
    draw: Callable[[], float],
    *,
    memory: float,
    now: float,
) -> Endpoint:
    """
    Of two different endpoints of `eligible` (not empty) the one with less load for its weight.

    The power of two choices (Mitzenmacher, 1996): whoever always took the least loaded of all would, with numbers that
    are some moments old, send everybody to the same one. The pair comes in any order, so a tie is a matter of chance.
    """
    count = len(eligible)
    if count == 1:
        return eligible[0]
    first, second = int(draw() * count), int(draw() * (count - 1))
    if second >= first:
        second += 1
    one, other = load_of(eligible[first], local, memory, now) + 1, load_of(eligible[second], local, memory, now) + 1
    if weights is not None:
        one, other = one / weights[first], other / weights[second]
    return eligible[second if other < one else first]


def load_of(endpoint: Endpoint, local: LocalView, memory: float, now: float) -> float:
    """Calls under way on the instance: this caller's, and those of others as far as they are believed in."""
    instance_id = endpoint.instance_id
    return local.in_flight.get(instance_id, 0) + believed(local.loads.get(instance_id), memory, now)
