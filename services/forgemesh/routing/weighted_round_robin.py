"""Each eligible instance as often as its weight says, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.round_robin import NOTHING, TURN, Turns, credits_of


def next_weighted_turn(turns: Turns, eligible: Sequence[Endpoint], weights: Sequence[float]) -> tuple[Endpoint, Turns]:
    """
    The endpoint that is owed most by its weight (above 0, finite), as in `next_turn`, and the credits after the pick.

    Smooth weighted round robin (nginx): 5:1:1 gives a a b a c a a. As long as whole weights stay the same, every window
    of their sum holds each endpoint as often as its weight says, exactly if the sum is at most TURN. Weights that
    change keep what was owed, which is less than two picks.
    """
    shares = shares_of(weights)
    owed = credits_of(turns, eligible)
    most, before = NOTHING, owed.get
    for endpoint, share in zip(eligible, shares, strict=True):
        instance_id = endpoint.instance_id
        owed[instance_id] = credit = before(instance_id, 0) + share
        if credit > most:
            chosen, most = endpoint, credit
    owed[chosen.instance_id] = most - sum(shares)
    return chosen, Turns(owed, turns.start)


def shares_of(weights: Sequence[float]) -> list[int]:
    """The parts of one turn, in the proportions of the weights; nobody's is zero."""
    total = sum(weights)
    if not isinstance(total, int):
        scale = TURN / total
        return [round(weight * scale) or 1 for weight in weights]
    whole = cast("Sequence[int]", weights)
    if total > TURN:
        return [weight * TURN // total or 1 for weight in whole]
    unit = TURN // total
    return [weight * unit for weight in whole]
