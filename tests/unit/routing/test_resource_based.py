from math import inf, nan

import pytest

from forgemesh.routing.eligibility import RemoteLoad
from forgemesh.routing.load_weight import BLACKOUT, EXPIRY, LoadReport, LoadWeight
from forgemesh.routing.policy import Policy
from forgemesh.routing.slow_start import SlowStart
from tests.unit.routing.endpoints import Caller, endpoint, snapshot


def caller(*weights: float, **rules: object) -> Caller:
    names = "abcdefgh"[: len(weights)]
    picking = Caller(snapshot(*(endpoint(name) for name in names), pick=Policy.RESOURCE_BASED, **rules))
    report(picking, *weights)
    return picking


def report(picking: Caller, *weights: float) -> None:
    picking.loads |= {name: RemoteLoad(weight=weight) for name, weight in zip("abcdefgh", weights, strict=False)}


def shares(picking: Caller, count: int = 100, **terms: float) -> list[int]:
    chosen = picking.choose(count, **terms)
    return [chosen.count(endpoint.instance_id) for endpoint in picking.at.endpoints]


def near(counts: list[int], *shares: float) -> bool:
    whole = sum(counts) / sum(shares)
    return all(abs(count - share * whole) <= 2 for count, share in zip(counts, shares, strict=True))


def test_the_shares_are_those_of_the_weights_and_follow_them() -> None:
    picking = caller(1.0, 10.0)

    assert near(shares(picking), 1, 10)
    report(picking, 10.0, 1.0)
    assert near(shares(picking), 10, 1)


def test_who_joins_gets_the_mean_until_its_weight_is_known() -> None:
    picking = caller(1.0, 3.0, 0.0)

    assert near(shares(picking), 1, 3, 2)
    report(picking, 1.0, 10.0, 2.0)
    assert near(shares(picking), 1, 10, 2)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (5.0, 0.0), (nan, 7.0), (-3.0, 7.0)])
def test_if_fewer_than_two_are_known_they_take_turns(weights: tuple[float, float]) -> None:
    assert caller(*weights).choose(4) == "abab"


@pytest.mark.parametrize("bad", [nan, -1.0, -inf, 0.0])
def test_a_weight_that_cannot_be_is_not_known(bad: float) -> None:
    assert near(shares(caller(2.0, 4.0, bad)), 2, 4, 3)


@pytest.mark.parametrize("huge", [inf, 1e300, 1e12])
def test_huge_weights_do_no_harm(huge: float) -> None:
    assert near(shares(caller(huge, huge, 1.0)), 50, 50, 0)


def test_weights_come_from_reports_after_the_blackout_until_they_expire() -> None:
    slow = LoadWeight().reported(LoadReport(10.0, application_utilization=1.0), now=0.0)
    fast = LoadWeight().reported(LoadReport(100.0, application_utilization=1.0), now=0.0)
    failing = fast.reported(LoadReport(100.0, 90.0, application_utilization=9.1), now=1.0)

    seen = {}
    for now in (1.0, BLACKOUT, EXPIRY - 1, EXPIRY):
        seen[now] = shares(caller(slow.weight(now), fast.weight(now)))

    assert near(seen[1.0], 1, 1)
    assert near(seen[BLACKOUT], 1, 10)
    assert near(seen[EXPIRY - 1], 1, 10)
    assert near(seen[EXPIRY], 1, 1)
    assert near(shares(caller(slow.weight(20.0), failing.weight(20.0))), 1, 1)


def test_failures_take_the_advantage_away() -> None:
    steady = LoadReport(100.0, application_utilization=1.0)
    idle = LoadReport(100.0, application_utilization=0.1)
    failing = LoadReport(100.0, failures_per_second=90.0, application_utilization=0.1)

    assert near(shares(caller(steady.weight, idle.weight)), 1, 10)
    assert near(shares(caller(steady.weight, failing.weight)), 1, 1)


def test_who_warms_up_gets_a_part_of_its_weight() -> None:
    picking = Caller(
        snapshot(
            endpoint("a"),
            endpoint("b", warming_since=100.0),
            pick=Policy.RESOURCE_BASED,
            slow_start=SlowStart(window=10.0),
        )
    )
    report(picking, 1.0, 2.0)

    assert near(shares(picking, now=105.0), 1, 1)
