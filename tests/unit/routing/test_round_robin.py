from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from forgemesh.routing.round_robin import TURN, Turns, forget, next_turn
from tests.unit.routing.endpoints import endpoint

INSTANCES = "abcdefgh"
ALWAYS = "ab"

patterns = st.lists(st.sets(st.sampled_from(INSTANCES)), min_size=1, max_size=150)


def picks(sets: Iterable[Iterable[str]], turns: Turns | None = None) -> tuple[list[str], Turns]:
    chosen = []
    turns = turns or Turns()
    for eligible in sets:
        picked, turns = next_turn(turns, [endpoint(instance_id) for instance_id in sorted(eligible)])
        chosen.append(picked.instance_id)
    return chosen, turns


def windows(chosen: Sequence[str], length: int) -> list[set[str]]:
    return [set(chosen[start : start + length]) for start in range(len(chosen) - length + 1)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_window_of_n_picks_holds_each_of_n_instances_once(count: int) -> None:
    chosen, _ = picks([INSTANCES[:count]] * 50)

    assert all(window == set(INSTANCES[:count]) for window in windows(chosen, count))


@pytest.mark.parametrize("start", range(4))
def test_the_first_round_begins_where_it_is_told_to(start: int) -> None:
    chosen, _ = picks(["abc"] * 6, Turns(start=start))

    assert "".join(chosen) == ("abc"[start % 3 :] + "abc"[: start % 3]) * 2


@given(patterns)
def test_whatever_the_others_do_who_stays_gets_its_fair_share_give_or_take_one(flapping: list[set[str]]) -> None:
    """Half of one is the rounding of a fair share to whole picks."""
    eligible = [sorted(others | set(ALWAYS)) for others in flapping]
    chosen, _ = picks(eligible)

    share = Fraction(0)
    got: Counter[str] = Counter()
    for instances, picked in zip(eligible, chosen, strict=True):
        share += Fraction(1, len(instances))
        got[picked] += 1
        for instance_id in ALWAYS:
            assert abs(got[instance_id] - share) < Fraction(3, 2)


def test_an_instance_that_is_out_whenever_its_turn_comes_does_not_enrich_its_neighbour() -> None:
    turns = Turns()
    got: Counter[str] = Counter()
    previous = ""
    for _ in range(3_000):
        (picked,), turns = picks(["acd" if previous == "a" else "abcd"], turns)
        got[picked] += 1
        previous = picked

    assert abs(got["c"] - got["d"]) <= 1
    assert abs(got["a"] - got["c"]) <= 1


@given(patterns, st.sets(st.sampled_from(INSTANCES), min_size=1))
def test_after_any_history_a_set_that_stays_is_served_in_exact_turns(
    flapping: list[set[str]], staying: set[str]
) -> None:
    _, turns = picks([eligible for eligible in flapping if eligible])
    _, turns = picks([staying] * 3 * len(staying), turns)
    chosen, _ = picks([staying] * 4 * len(staying), turns)

    assert all(window == staying for window in windows(chosen, len(staying)))


@given(patterns)
def test_accounts_stay_small_and_balanced_however_often_the_set_changes(flapping: list[set[str]]) -> None:
    _, turns = picks([eligible for eligible in flapping if eligible])

    assert abs(sum(turns.owed.values())) <= len(INSTANCES) ** 2
    assert all(abs(credit) < 2 * TURN for credit in turns.owed.values())


def test_instances_that_are_gone_are_forgotten_and_the_others_keep_their_turn() -> None:
    _, turns = picks(["abc"] * 4)
    forgotten = forget(turns, [endpoint("b"), endpoint("c"), endpoint("new")])

    assert set(forgotten.owed) == {"b", "c"}
    assert picks(["bc"], forgotten)[0] == ["b"]
