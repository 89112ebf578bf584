from __future__ import annotations

import random

from forgemesh.balancer.domain.picks import Outstanding, OutstandingPicks
from forgemesh.routing.outcome import CountKey

KEY = CountKey("weather.stats", "a", 1, 0)


def pick(name: str, until: float) -> Outstanding:
    return Outstanding(name, KEY, "", "", "", until)


def names(found: list[Outstanding]) -> list[str]:
    return [one.pick_id for one in found]


def test_a_pick_is_settled_once_and_not_after_its_lease() -> None:
    picks = OutstandingPicks()
    picks.add(pick("x", 10.0))
    picks.add(pick("y", 10.0))

    assert picks.settle("x", 9.0) == pick("x", 10.0)
    assert picks.settle("x", 9.0) is None
    assert picks.settle("y", 10.0) is None
    assert picks.settle("z", 0.0) is None
    assert names(picks.lost(10.0)) == ["y"]
    assert len(picks) == 0


def test_leases_end_in_their_order_whatever_order_they_began_in() -> None:
    picks = OutstandingPicks()
    for name, until in (("late", 30.0), ("early", 10.0), ("settled", 5.0), ("middle", 20.0)):
        picks.add(pick(name, until))
    picks.settle("settled", 0.0)

    assert picks.next_end() == 10.0
    assert names(picks.lost(25.0)) == ["early", "middle"]
    assert picks.next_end() == 30.0
    assert names(picks.lost(30.0)) == ["late"]
    assert picks.next_end() is None


def test_beyond_a_number_of_picks_those_whose_lease_ends_first_are_over() -> None:
    picks = OutstandingPicks(most=2)
    for name, until in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        picks.add(pick(name, until))

    assert names(picks.lost(0.0)) == ["b"]
    assert len(picks) == 2


def test_memory_follows_what_is_under_way_and_every_pick_is_over_once() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    picks, over, now = OutstandingPicks(), [], 0.0
    for number in range(20_000):
        picks.add(pick(str(number), now + draw.uniform(1, 1000)))
        now += 0.01
        if draw.random() < 0.95:
            settled = picks.settle(str(draw.randrange(max(0, number - 20), number + 1)), now)
            over += [settled] if settled else []
        over += picks.lost(now)
        assert len(picks._ends) <= 2 * len(picks) + 1001
    over += picks.lost(now + 2000)

    assert sorted(map(int, names(over))) == list(range(20_000))
