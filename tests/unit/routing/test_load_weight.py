from dataclasses import replace
from math import inf, nan

import pytest

from forgemesh.routing.load_weight import BLACKOUT, EXPIRY, LoadReport, LoadWeight

HALF_USED = LoadReport(calls_per_second=100.0, application_utilization=0.5)


def test_the_weight_is_how_many_calls_it_would_take_if_it_were_wholly_used() -> None:
    assert HALF_USED.weight == 200.0


def test_failing_calls_make_it_less() -> None:
    """100 / (0.1 + 90/100 * 1.0)"""
    failing = LoadReport(calls_per_second=100.0, failures_per_second=90.0, application_utilization=0.1)

    assert failing.weight == pytest.approx(100.0)
    assert replace(failing, failures_per_second=0.0).weight == pytest.approx(1000.0)


def test_what_the_plugin_says_comes_before_the_processor() -> None:
    both = LoadReport(calls_per_second=100.0, application_utilization=0.5, cpu_utilization=0.1)

    assert both.weight == 200.0
    assert replace(both, application_utilization=0.0).weight == 1000.0


@pytest.mark.parametrize("bad", [0.0, -1.0, nan, inf, -inf])
def test_numbers_that_cannot_be_say_nothing(bad: float) -> None:
    assert replace(HALF_USED, calls_per_second=bad).weight == 0.0
    assert replace(HALF_USED, application_utilization=bad).weight == 0.0
    assert replace(HALF_USED, failures_per_second=bad).weight == 200.0
    assert LoadWeight().reported(replace(HALF_USED, calls_per_second=bad), now=1.0) == LoadWeight()


def test_the_first_reports_count_after_the_blackout() -> None:
    weight = LoadWeight().reported(HALF_USED, now=100.0).reported(HALF_USED, now=105.0)

    assert weight.weight(100.0 + BLACKOUT - 0.1) == 0.0
    assert weight.weight(100.0 + BLACKOUT) == 200.0


def test_a_weight_expires_and_after_that_the_blackout_begins_anew() -> None:
    weight = LoadWeight().reported(HALF_USED, now=100.0)

    assert weight.weight(100.0 + EXPIRY - 0.1) == 200.0
    assert weight.weight(100.0 + EXPIRY) == 0.0
    again = weight.reported(HALF_USED, now=100.0 + EXPIRY)
    assert again.weight(100.0 + EXPIRY + BLACKOUT - 0.1) == 0.0
    assert again.weight(100.0 + EXPIRY + BLACKOUT) == 200.0


def test_reports_from_the_past_and_moments_before_the_last_report_do_not_count() -> None:
    weight = LoadWeight().reported(HALF_USED, now=100.0).reported(HALF_USED, now=120.0)

    assert weight.reported(replace(HALF_USED, calls_per_second=1.0), now=119.0) == weight
    assert weight.reported(HALF_USED, now=nan) == weight
    assert weight.reported(HALF_USED, now=inf) == weight
    assert weight.weight(119.0) == 0.0
