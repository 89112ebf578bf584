import math

import pytest
from hypothesis import given, strategies as st

from forgemesh.routing.pick import NoPickReason
from forgemesh.routing.scaling import Scale, ScaleRule, behavior_of, counting, parts_of, share_of, wish

RULE = ScaleRule(least=1, most=10, target=0.5, down_after=60.0)
FROM_ZERO = ScaleRule(least=0, most=10)

rules = st.builds(
    lambda bounds, target, tolerance: ScaleRule(
        least=min(bounds), most=max(bounds), target=target, tolerance=tolerance, up_after=0.0, down_after=0.0
    ),
    st.tuples(st.integers(0, 50), st.integers(0, 50)),
    st.floats(0.01, 10),
    st.floats(0, 0.9),
)
capacities = st.integers(1, 1000)
demands = st.integers(0, 100_000)


def desired(rule: ScaleRule, current: int, demand: float, capacity: float = 1, now: float = 0.0) -> int:
    return Scale().desired(rule, current, demand, capacity, now)[1]


def test_twice_the_calls_want_twice_the_instances() -> None:
    assert desired(RULE, 2, demand=16, capacity=8) == 4


def test_within_the_tolerance_nothing_changes() -> None:
    assert desired(RULE, 4, demand=2.16) == 4


def test_the_bounds_hold() -> None:
    assert desired(RULE, 8, demand=40) == 10
    assert desired(RULE, 12, demand=6) == 10
    assert desired(RULE, 0, demand=0) == 1


def test_one_call_that_waits_is_enough_to_start_from_nothing() -> None:
    assert desired(FROM_ZERO, 0, demand=1, capacity=100) == 1
    assert desired(FROM_ZERO, 0, demand=0, capacity=100) == 0


def test_a_share_that_is_no_binary_fraction_is_counted_as_kubernetes_counts_it() -> None:
    """28 / (8 * 0.7) is a little more than 5 for a computer."""
    assert wish(FROM_ZERO, demand=28, capacity=8) == 5


def test_fewer_only_after_the_demand_was_low_for_long() -> None:
    scale, wanted = Scale().desired(RULE, 4, 2.0, 1, now=0.0)
    for now in range(10, 61, 10):
        scale, wanted = scale.desired(RULE, 4, 0.4, 1, now=float(now))
        assert wanted == 4

    _, wanted = scale.desired(RULE, 4, 0.4, 1, now=70.0)

    assert wanted == 1


def test_more_only_after_the_demand_was_high_for_as_long_as_the_rule_says() -> None:
    rule = ScaleRule(least=1, most=10, target=0.5, up_after=20.0)
    scale, wanted = Scale().desired(rule, 2, 1.0, 1, now=0.0)
    scale, wanted = scale.desired(rule, 2, 2.0, 1, now=10.0)
    assert wanted == 2

    _, wanted = scale.desired(rule, 2, 2.0, 1, now=30.0)

    assert wanted == 4


def test_fewer_only_after_the_demand_was_looked_at_for_so_long() -> None:
    scale, wanted = Scale().desired(RULE, 4, 0.0, 1, now=100.0)
    assert wanted == 4
    scale, wanted = scale.desired(RULE, 4, 0.0, 1, now=159.0)
    assert wanted == 4

    assert scale.desired(RULE, 4, 0.0, 1, now=160.0)[1] == 1


def test_more_only_after_the_demand_was_looked_at_for_so_long() -> None:
    rule = ScaleRule(least=1, most=10, target=0.5, up_after=20.0)
    scale, wanted = Scale().desired(rule, 2, 2.0, 1, now=100.0)
    assert wanted == 2

    assert scale.desired(rule, 2, 2.0, 1, now=120.0)[1] == 4


def test_a_demand_that_is_not_known_holds_the_number() -> None:
    scale, wanted = Scale().desired(RULE, 4, 2.0, 1, now=0.0)
    for now in range(10, 1000, 10):
        scale, wanted = scale.desired(RULE, 4, None, 1, now=float(now))
        assert wanted == 4


def test_what_is_known_again_lowers_the_number_only_after_it_was_low_for_long() -> None:
    scale, _ = Scale().desired(RULE, 4, 0.0, 1, now=0.0)
    scale, _ = scale.desired(RULE, 4, None, 1, now=59.0)
    scale, wanted = scale.desired(RULE, 4, 0.0, 1, now=100.0)
    assert wanted == 4

    assert scale.desired(RULE, 4, 0.0, 1, now=120.0)[1] == 1


def test_a_demand_that_is_not_known_takes_nothing_from_a_rise_that_is_due() -> None:
    rule = ScaleRule(least=1, most=10, target=0.5, up_after=20.0)
    scale, _ = Scale().desired(rule, 2, 2.0, 1, now=0.0)
    scale, _ = scale.desired(rule, 2, None, 1, now=10.0)

    assert scale.desired(rule, 2, 2.0, 1, now=20.0)[1] == 4


@given(rules, st.integers(0, 60), demands, demands, capacities)
def test_more_calls_never_want_fewer_instances(
    rule: ScaleRule, current: int, one: int, other: int, capacity: int
) -> None:
    low, high = sorted((one, other))

    assert wish(rule, low, capacity) <= wish(rule, high, capacity)
    assert desired(rule, current, low, capacity) <= desired(rule, current, high, capacity)


@given(rules, st.integers(0, 60), st.floats(0, 1e300), st.floats(1e-300, 1e300))
def test_the_bounds_hold_for_any_demand(rule: ScaleRule, current: int, demand: float, capacity: float) -> None:
    assert rule.least <= wish(rule, demand, capacity) <= rule.most
    assert rule.least <= desired(rule, current, demand, capacity) <= rule.most


@given(rules, st.integers(0, 60), demands, capacities)
def test_what_is_reached_is_wanted_again(rule: ScaleRule, current: int, demand: int, capacity: int) -> None:
    reached = desired(rule, current, demand, capacity)

    assert desired(rule, reached, demand, capacity) == reached


@given(rules, st.integers(1, 50), capacities, st.lists(st.floats(-0.99, 0.99), max_size=20))
def test_a_demand_that_moves_within_the_tolerance_moves_nothing(
    rule: ScaleRule, current: int, capacity: int, moves: list[float]
) -> None:
    current, scale = rule.bound(current), Scale()
    due = current * share_of(rule.target, capacity)
    for number, move in enumerate(moves):
        demand = (due + int(rule.tolerance * move * due)) / 1000
        scale, wanted = scale.desired(rule, current, demand, capacity, now=float(number))
        assert wanted == current


@given(st.integers(0, 20), st.lists(st.one_of(st.none(), st.integers(0, 100)), max_size=20), st.floats(0, 30), demands)
def test_no_number_is_wanted_that_nothing_in_the_windows_called_for(
    current: int, earlier: list[int | None], window: float, demand: int
) -> None:
    rule, scale = ScaleRule(least=0, most=20, up_after=window, down_after=window), Scale()
    for number, one in enumerate(earlier):
        scale, _ = scale.desired(rule, current, one, 1, now=float(number))
    now = float(len(earlier))
    following, wanted = scale.desired(rule, current, demand, 1, now)

    assert wanted == current or wanted in {number for _, number in following.wishes}
    assert all(at >= now - window for at, _ in following.wishes)


@pytest.mark.parametrize("demand", [math.nan, math.inf, -1.0])
def test_what_is_no_number_of_calls_is_refused(demand: float) -> None:
    with pytest.raises(ValueError, match="calls"):
        wish(RULE, demand, 1)


@pytest.mark.parametrize("capacity", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_no_capacity_is_refused(capacity: float) -> None:
    with pytest.raises(ValueError, match="capacity"):
        desired(RULE, 1, 1, capacity)


def test_fewer_instances_than_none_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 instances"):
        desired(RULE, -1, 1)


@pytest.mark.parametrize(
    "terms",
    [
        {"least": -1, "most": 1},
        {"least": 2, "most": 1},
        *({"least": 0, "most": 1, "target": target} for target in (0.0, -1.0, math.nan, math.inf)),
        *({"least": 0, "most": 1, "tolerance": tolerance} for tolerance in (-0.1, 1.0, math.nan)),
        *({"least": 0, "most": 1, name: time} for name in ("up_after", "down_after") for time in (-1.0, math.nan)),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(terms: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"instances|target|tolerance|times"):
        ScaleRule(**terms)  # type: ignore[arg-type]


@given(st.integers(0, 1000), st.floats(0.01, 10), capacities, st.integers(0, 60))
def test_kubernetes_comes_to_the_same_number(demand: int, target: float, capacity: int, current: int) -> None:
    """As its controller counts a total that every pod has a share of: in thousandths, with a tenth of tolerance."""
    rule = ScaleRule(least=0, most=10**9, target=target, down_after=0.0)
    usage, share = demand * 1000, share_of(target, capacity)
    ratio = usage / (share * current) if current else math.inf
    counted = current if abs(1 - ratio) <= 0.1 else math.ceil(usage / share)

    assert desired(rule, current, demand, capacity) == counted
    assert parts_of(demand) == usage


def test_kubernetes_is_told_the_windows() -> None:
    rule = ScaleRule(least=0, most=12, up_after=0.5, down_after=300.0)

    assert behavior_of(rule) == {
        "scaleUp": {
            "stabilizationWindowSeconds": 1,
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
        "scaleDown": {"stabilizationWindowSeconds": 300},
    }


@given(rules, st.floats(0, 1e9))
def test_kubernetes_is_told_nothing_that_it_refuses(rule: ScaleRule, window: float) -> None:
    terms = {"least": rule.least, "most": rule.most, "up_after": window, "down_after": window}
    for way in behavior_of(ScaleRule(**terms)).values():  # type: ignore[arg-type]
        assert 0 <= way["stabilizationWindowSeconds"] <= 3600


@pytest.mark.parametrize("reason", NoPickReason)
def test_calls_that_another_instance_would_not_help_keep_one_and_raise_nothing(reason: NoPickReason) -> None:
    broken = reason in (NoPickReason.CIRCUIT_OPEN, NoPickReason.CRASH_LOOP)

    assert [counting(calls, reason) for calls in (0, 1, 500)] == ([0, 1, 1] if broken else [0, 1, 500])
