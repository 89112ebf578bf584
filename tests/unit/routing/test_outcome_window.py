from hypothesis import given, strategies as st

from forgemesh.routing.outcome import CallCounts
from forgemesh.routing.outcome_window import OutcomeWindow


def ok(count: int = 1, slow: int = 0) -> CallCounts:
    return CallCounts(succeeded=count, slow=slow)


def bad(count: int = 1) -> CallCounts:
    return CallCounts(failed=count)


def totals(window: OutcomeWindow) -> tuple[int, int, int]:
    return window.calls, window.failed, window.slow


def test_it_forgets_calls_that_are_older_than_it_is_long() -> None:
    window = OutcomeWindow(seconds=10.0).plus(bad(2), 100.0).plus(ok(3, slow=1), 105.0)

    assert totals(window.at(109.9)) == (5, 2, 1)
    assert totals(window.at(110.0)) == (3, 0, 1)
    assert totals(window.at(115.0)) == (0, 0, 0)
    assert totals(window) == (5, 2, 1)


def test_it_reaches_back_nine_tenths_at_least() -> None:
    window = OutcomeWindow(seconds=10.0).plus(bad(), 100.999)

    assert totals(window.at(109.99)) == (1, 1, 0)


def test_it_holds_the_newest_calls_one_by_one() -> None:
    window = OutcomeWindow(seconds=60.0, limit=3)
    for counts in (bad(), bad(), ok(), ok(), bad()):
        window = window.plus(counts, 7.0)

    assert totals(window) == (3, 1, 0)


def test_a_batch_that_the_limit_cuts_keeps_its_share_of_failures() -> None:
    window = OutcomeWindow(seconds=60.0, limit=10).plus(CallCounts(succeeded=4, failed=4), 1.0).plus(ok(6), 2.0)

    assert totals(window) == (10, 2, 0)


def test_calls_that_say_nothing_are_not_in_it() -> None:
    assert totals(OutcomeWindow(seconds=9.0).plus(CallCounts(started=9, overloaded=5, ignored=4), 1.0)) == (0, 0, 0)


def test_rates_of_nothing_are_zero() -> None:
    assert (OutcomeWindow(seconds=9.0).failure_rate, OutcomeWindow(seconds=9.0).slow_rate) == (0.0, 0.0)


def test_another_size_keeps_what_fits() -> None:
    window = OutcomeWindow(seconds=30.0).plus(bad(4), 100.0).plus(ok(8), 120.0)

    assert totals(window.under(10.0, 0).at(121.0)) == (8, 0, 0)
    assert totals(window.under(60.0, 0).at(140.0)) == (12, 4, 0)
    assert totals(window.under(30.0, 6)) == (6, 0, 0)
    assert window.under(30.0, 0) is window


def test_a_long_window_of_many_calls_stays_small() -> None:
    window = OutcomeWindow(seconds=1000.0, limit=100_000)
    for second in range(5000):
        window = window.plus(CallCounts(succeeded=99, failed=1), second / 10)

    assert totals(window) == (100_000, 1000, 0)
    assert len(window.batches) <= 150


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.0, 3.0, allow_nan=False)), min_size=1, max_size=60
    ),
    st.integers(0, 12),
)
def test_totals_are_those_of_what_is_in_it(records: list[tuple[int, int, float]], limit: int) -> None:
    window = OutcomeWindow(seconds=10.0, limit=limit)
    now = 0.0
    recent: list[tuple[int, int]] = []
    for succeeded, failed, step in records:
        now += step
        window = window.plus(CallCounts(succeeded=succeeded, failed=failed), now)
        recent.append((int(now), succeeded + failed))

    within = sum(calls for second, calls in recent if second > int(now) - 10)
    assert window.calls == (min(within, limit) if limit else within)
    assert 0 <= window.failed <= window.calls
