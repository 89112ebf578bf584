import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin_host.host.calls.call_statistics import FRESH, REMEMBERED, CallStatistics, Rates


def test_rates_are_taken_over_the_time_since_they_were_last_taken() -> None:
    tally = CallStatistics()
    tally.rates(now=10.0, cpu=1.0)
    for number in range(8):
        tally.add(now=11.0, latency=0.1, failed=number < 2)

    assert tally.rates(now=12.0, cpu=2.0) == Rates(ended=4.0, failed=1.0, cpu=0.5)
    assert tally.rates(now=14.0, cpu=2.0) == Rates(ended=0.0, failed=0.0, cpu=0.0)


def test_whoever_asks_again_at_once_gets_the_same_answer() -> None:
    tally = CallStatistics()
    tally.rates(now=10.0, cpu=1.0)
    tally.add(now=11.0, latency=0.1, failed=False)
    first = tally.rates(now=11.0, cpu=2.0)
    tally.add(now=11.5, latency=0.1, failed=False)

    assert tally.rates(now=11.5, cpu=3.0) == first
    assert tally.rates(now=12.0, cpu=3.0) == Rates(ended=1.0, cpu=1.0)


def test_the_slow_tail_shows_in_the_percentile_and_failures_in_the_share() -> None:
    tally = CallStatistics()
    for number in range(100):
        tally.add(now=1.0, latency=number / 100, failed=number % 4 == 0)

    assert tally.quality(now=1.0) == (0.95, 0.75)


def test_without_calls_nothing_is_slow_and_nothing_fails() -> None:
    assert CallStatistics().quality(now=5.0) == (0.0, 1.0)


def test_what_was_long_ago_no_longer_counts() -> None:
    tally = CallStatistics()
    tally.add(now=0.0, latency=9.0, failed=True)

    assert tally.quality(now=FRESH) == (9.0, 0.0)
    assert tally.quality(now=FRESH + 0.1) == (0.0, 1.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=2 * REMEMBERED))
def test_quality_lies_within_what_was_seen(calls: list[tuple[float, bool]]) -> None:
    tally = CallStatistics()
    for latency, failed in calls:
        tally.add(now=1.0, latency=latency, failed=failed)
    latency, success = tally.quality(now=1.0)

    last = calls[-REMEMBERED:]
    assert 0 <= success <= 1
    if last:
        assert min(seen for seen, _ in last) <= latency <= max(seen for seen, _ in last)
        assert success == pytest.approx(sum(not failed for _, failed in last) / len(last))
