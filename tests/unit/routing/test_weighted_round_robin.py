from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given, strategies as st

from forgemesh.routing.pick import NoPickReason
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import TURN, Turns
from forgemesh.routing.slow_start import SlowStart
from forgemesh.routing.snapshot import Snapshot
from forgemesh.routing.weighted_round_robin import shares_of
from tests.unit.routing.endpoints import Caller, endpoint, pick, refused, snapshot

NAMES = "abcdefgh"


def weighted(*weights: int) -> Snapshot:
    endpoints = [endpoint(name, weight=weight) for name, weight in zip(NAMES, weights, strict=False)]
    return snapshot(*endpoints, pick=Policy.WEIGHTED_ROUND_ROBIN)


def windows(chosen: str, length: int) -> list[Counter[str]]:
    return [Counter(chosen[start : start + length]) for start in range(len(chosen) - length + 1)]


def test_five_to_one_to_one_is_smooth() -> None:
    """No run is longer than two within a period; the last two and the first two of the next one make four."""
    chosen = Caller(weighted(5, 1, 1)).choose(700)

    assert chosen == "aabacaa" * 100
    assert max(len(list(run)) for _, run in groupby("aabacaa")) == 2


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 3), (5, 3, 2), (17, 23, 37), (5, 1, 1), (1, 10, 2, 20), (7,)])
@pytest.mark.parametrize("start", [0, 1, 5])
def test_every_window_of_the_sum_holds_each_as_often_as_its_weight_says(weights: tuple[int, ...], start: int) -> None:
    caller = Caller(weighted(*weights))
    caller.cursor = Turns(start=start)
    chosen = caller.choose(10_000)

    expected = Counter(dict(zip(NAMES, weights, strict=False)))
    assert all(window == expected for window in windows(chosen, sum(weights)))
    for name, weight in expected.items():
        share = 10_000 * weight / sum(weights)
        assert abs(chosen.count(name) - share) < 0.01 * share


def test_equal_weights_are_turns() -> None:
    assert Caller(weighted(3, 3, 3)).choose(6) == "abcabc"


def test_without_weight_there_is_no_traffic() -> None:
    caller = Caller(weighted(1, 0, 2, -5))

    assert Counter(caller.choose(300)) == {"a": 100, "c": 200}


def test_a_weight_that_is_no_number_is_none() -> None:
    at = snapshot(endpoint("a", weight=float("nan")), endpoint("b"), pick=Policy.WEIGHTED_ROUND_ROBIN)

    assert Caller(at).choose(3) == "bbb"


def test_if_nobody_has_weight_nobody_is_picked() -> None:
    answer = refused(pick(weighted(0, 0), Turns(), Caller(weighted()).view))

    assert answer.reason is NoPickReason.NONE_HEALTHY
    assert [reason.value for _, reason in answer.excluded] == ["weight is zero"] * 2


def test_round_robin_looks_at_no_weight() -> None:
    assert Caller(snapshot(endpoint("a", weight=0), endpoint("b", weight=9))).choose(4) == "abab"


@pytest.mark.parametrize("huge", [2**32 - 1, 10**18, 10**400])
def test_huge_weights_do_no_harm(huge: int) -> None:
    chosen = Caller(weighted(huge, huge, 1)).choose(1000)

    assert abs(chosen.count("a") - 500) <= 1
    assert abs(chosen.count("b") - 500) <= 1
    assert sum(shares_of([2**32 - 1, 1])) <= TURN + 1


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=6),
    st.lists(st.integers(1, 30), min_size=6, max_size=6),
    st.integers(0, 200),
)
def test_after_a_change_of_weights_the_shares_are_right_within_a_period(
    before: list[int], after: list[int], picks: int
) -> None:
    after = after[: len(before)]
    caller = Caller(weighted(*before))
    caller.choose(picks)
    caller.at = weighted(*after)
    chosen = caller.choose(sum(after))

    assert all(abs(chosen.count(name) - weight) <= 2 for name, weight in zip(NAMES, after, strict=False))
    expected = Counter(dict(zip(NAMES, after, strict=False)))
    assert all(window == expected for window in windows(caller.choose(3 * sum(after)), sum(after)))


@given(st.lists(st.sets(st.sampled_from("cdefgh")), min_size=1, max_size=100))
def test_whatever_the_others_do_who_stays_gets_the_share_of_its_weight(flapping: list[set[str]]) -> None:
    weights = dict(zip(NAMES, (5, 1, 2, 3, 1, 7, 1, 1), strict=True))
    caller = Caller(weighted())
    share = {"a": 0.0, "b": 0.0}
    got: Counter[str] = Counter()
    for others in flapping:
        present = sorted(others | {"a", "b"})
        caller.at = snapshot(
            *(endpoint(name, weight=weights[name]) for name in present), pick=Policy.WEIGHTED_ROUND_ROBIN
        )
        got[caller.choose(1)] += 1
        whole = sum(weights[one] for one in present)
        share = {name: owed + weights[name] / whole for name, owed in share.items()}

        assert all(abs(got[name] - owed) < 2 for name, owed in share.items())


def test_who_warms_up_gets_a_growing_part_of_its_weight() -> None:
    at = snapshot(
        endpoint("a", weight=2),
        endpoint("b", weight=2, warming_since=100.0),
        pick=Policy.WEIGHTED_ROUND_ROBIN,
        slow_start=SlowStart(window=10.0),
    )

    counts = [Caller(at).choose(110, now=now).count("b") for now in (100.0, 105.0, 110.0)]

    assert [abs(count - share) <= 1 for count, share in zip(counts, (10, 110 / 3, 55), strict=True)] == [True] * 3


def test_turns_respect_a_slow_start_too() -> None:
    at = snapshot(endpoint("a"), endpoint("b", warming_since=100.0), slow_start=SlowStart(window=10.0))

    assert Caller(at).choose(11, now=101.0).count("b") == 1
    assert Caller(at).choose(4, now=110.0) == "abab"


def test_if_all_warm_up_alike_they_take_turns() -> None:
    at = snapshot(
        endpoint("a", warming_since=100.0), endpoint("b", warming_since=100.0), slow_start=SlowStart(window=10.0)
    )

    assert Caller(at).choose(4, now=103.0) == "abab"


def test_a_cursor_survives_any_change_of_policy() -> None:
    caller = Caller(weighted(5, 1, 1), draw=lambda: 0.5)
    for policy in (*Policy, *Policy):
        caller.at = snapshot(*caller.at.endpoints, pick=policy)
        caller.choose(17)

    assert all(abs(owed) <= 2 * TURN for owed in caller.cursor.owed.values())
