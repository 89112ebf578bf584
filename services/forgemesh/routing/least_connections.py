"""The less loaded of two instances: the one whose turn it is, and one that chance names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forgemesh.routing.eligibility import LocalView, believed
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.round_robin import Turns


def less_loaded(
    turns: Turns,
    eligible: Sequence[Endpoint],
    weights: Sequence[float] | None,
    local: LocalView,
    draw: Callable[[], float],
    *,
    memory: float,
    now: float,
) -> tuple[Endpoint, Turns]:
    """
    Of two different endpoints of `eligible` (not empty) the one with less load for its weight, and the next turn.

    The power of two choices (Mitzenmacher, 1996): whoever always took the least loaded of all would, with numbers that
    are some moments old, send everybody to the same one. One of the two is the next in turn, and has the call if both
    are alike; the other one is drawn. So the idle share calls evenly, which two draws would not see to. Where the turns
    begin (`start` 0: not yet) is drawn as well.
    """
    count = len(eligible)
    start = turns.start or 1 + int(draw() * count)
    first, second = start % count, 0
    if count > 1:
        second = int(draw() * (count - 1))
        second += second >= first
    one, other = load_of(eligible[first], local, memory, now) + 1, load_of(eligible[second], local, memory, now) + 1
    if weights is not None:
        one, other = one / weights[first], other / weights[second]
    return eligible[second if other < one else first], Turns(turns.owed, start + 1)


def load_of(endpoint: Endpoint, local: LocalView, memory: float, now: float) -> float:
    """Calls under way on the instance: this caller's, and those of others as far as they are believed in."""
    instance_id = endpoint.instance_id
    return local.in_flight.get(instance_id, 0) + believed(local.loads.get(instance_id), memory, now)
