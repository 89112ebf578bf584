import random

import pytest

from forgemesh.routing.latencies import AGED, REFRESHED, Latencies


@pytest.mark.parametrize("seed", range(5))
def test_the_95th_percentile_is_at_most_a_quarter_too_high_and_never_too_low(seed: int) -> None:
    print(f"seed {seed}")
    draw = random.Random(seed)
    seen = [draw.lognormvariate(-3.0, 1.0) for _ in range(500)]
    latencies = Latencies()
    for seconds in seen:
        latencies.saw(seconds)

    exact = sorted(seen)[474]

    assert exact <= latencies.percentile_95() <= 1.25 * exact


def test_what_is_over_long_ago_counts_little() -> None:
    latencies = Latencies()
    for _ in range(AGED - 1):
        latencies.saw(10.0)
    for _ in range(8 * AGED):
        latencies.saw(0.1)

    assert latencies.percentile_95() <= 0.125


def test_nothing_seen_is_nothing_and_a_few_calls_change_nothing_at_once() -> None:
    latencies = Latencies()
    assert latencies.percentile_95() == 0.0
    for _ in range(REFRESHED):
        latencies.saw(1.0)
    before = latencies.percentile_95()

    latencies.saw(100.0)

    assert before == latencies.percentile_95() == pytest.approx(1.125, rel=0.12)


def test_a_clock_that_goes_backwards_does_no_harm() -> None:
    latencies = Latencies()

    latencies.saw(-1.0)
    latencies.saw(0.0)

    assert 0.0 < latencies.percentile_95() < 1e-5
