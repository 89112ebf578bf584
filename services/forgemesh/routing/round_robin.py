"""Each eligible instance in turn, also when the set of eligible ones changes from pick to pick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from forgemesh.routing.endpoint import Endpoint

TURN = 720_720
"""One pick, in the units of credit; 1 to 16 instances share it without a remainder."""
NOTHING = -TURN * TURN
"""Nobody is owed as little."""


class Turns(NamedTuple):
    """
    What each instance is owed: its fair share of the picks it was eligible for, less the picks it got.

    A ring or a counter goes wrong when the set changes at an unlucky rhythm: an instance that is out whenever its
    turn comes gives that turn to its neighbour, again and again. Accounts do not: they stay exact and small however
    often the set changes. Callers with different `start` begin at different instances.
    (A tuple, because one is made for every step, and a frozen dataclass takes four times as long to make.)
    """

    owed: Mapping[str, int] = MappingProxyType({})
    start: int = 0


def next_turn(turns: Turns, eligible: Sequence[Endpoint]) -> tuple[Endpoint, Turns]:
    """
    The endpoint that is owed most, of `eligible` (not empty, ordered by instance id), and the credits after the pick.

    As long as the set stays the same, every window of its length holds each endpoint once. Whatever happens to the
    others, an instance that stays gets its fair share, rounded, give or take one.
    """
    if len(eligible) == 1 and eligible[0].instance_id in turns.owed:
        return eligible[0], turns  # what it gets is what it is owed
    owed = credits_of(turns, eligible)
    share, most, before = TURN // len(eligible), NOTHING, owed.get
    for endpoint in eligible:
        instance_id = endpoint.instance_id
        owed[instance_id] = credit = before(instance_id, 0) + share
        if credit > most:
            chosen, most = endpoint, credit
    owed[chosen.instance_id] = most - share * len(eligible)
    return chosen, Turns(owed, turns.start)


def credits_of(turns: Turns, eligible: Sequence[Endpoint]) -> dict[str, int]:
    """What everybody is owed, to be changed; at first so little that it only decides who begins."""
    return dict(turns.owed) if turns.owed else _first_order(eligible, turns.start)


def forget(turns: Turns, remaining: Sequence[Endpoint]) -> Turns:
    """The credits without those of instances that are gone."""
    kept = {e.instance_id: turns.owed[e.instance_id] for e in remaining if e.instance_id in turns.owed}
    return Turns(kept, turns.start)


def _first_order(eligible: Sequence[Endpoint], start: int) -> dict[str, int]:
    """Accounts that differ by the smallest unit, so that the first round begins at `start`."""
    count = len(eligible)
    return {endpoint.instance_id: -((index - start) % count) for index, endpoint in enumerate(eligible)}
