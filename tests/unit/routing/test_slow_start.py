import pytest

from forgemesh.routing.slow_start import SlowStart


@pytest.mark.parametrize(
    ("aggression", "age", "part"),
    [
        (1.0, 1.0, 0.1),
        (1.0, 30.0, 0.5),
        (1.0, 60.0, 1.0),
        (2.0, 1.0, (1 / 60) ** 0.5),
        (2.0, 30.0, 0.5**0.5),
        (2.0, 60.0, 1.0),
    ],
)
def test_the_part_grows_along_the_curve(aggression: float, age: float, part: float) -> None:
    assert SlowStart(window=60.0, aggression=aggression).part(age) == pytest.approx(part)


def test_the_first_second_is_as_if_it_were_over_and_a_clock_that_is_behind_does_no_harm() -> None:
    start = SlowStart(window=10.0, least=0.0)

    assert [start.part(age) for age in (-100.0, 0.0, 0.5, 1.0)] == [0.1] * 4


def test_nobody_gets_less_than_the_least_part_or_more_than_all() -> None:
    assert SlowStart(window=1000.0, least=0.3).part(1.0) == 0.3
    assert SlowStart(window=10.0).part(1000.0) == 1.0
    assert SlowStart(window=10.0, least=5.0).part(2.0) == 1.0


def test_without_a_window_there_is_no_slow_start() -> None:
    assert SlowStart().part(0.0) == 1.0


@pytest.mark.parametrize("aggression", [0.0, -1.0])
def test_a_curve_that_cannot_be_stays_at_the_least_part_until_the_end(aggression: float) -> None:
    start = SlowStart(window=10.0, aggression=aggression)

    assert [start.part(age) for age in (1.0, 9.9, 10.0)] == [0.1, 0.1, 1.0]
