import random

from hypothesis import given, strategies as st
from weather_days import Day, clean, gaps, prepare_chunked, prepare_direct

from tests.unit.weather.records import day, days


def test_cleaning_sorts_by_date_and_keeps_the_first_of_each_date() -> None:
    record = [day("2020-01-03"), day("2020-01-01", high=1), day("2020-01-01", high=2)]

    assert clean(record) == [day("2020-01-01", high=1), day("2020-01-03")]


def test_gaps_count_the_calendar_days_that_are_missing() -> None:
    assert gaps([]) == 0
    assert gaps([day("2020-02-28")]) == 0
    assert gaps([day("2020-02-28"), day("2020-03-01")]) == 1


def test_direct_tells_what_it_dropped_and_what_is_missing() -> None:
    prepared = prepare_direct([day("2020-01-04"), day("2020-01-01"), day("2020-01-04")], "harbour.csv")

    assert prepared.days == [day("2020-01-01"), day("2020-01-04")]
    assert (prepared.source, prepared.method, prepared.chunks) == ("harbour.csv", "direct", 1)
    assert (prepared.gaps, prepared.duplicates) == (2, 1)


def test_chunked_takes_one_chunk_a_calendar_year_and_counts_gaps_between_them() -> None:
    prepared = prepare_chunked([day("2021-01-02"), day("2019-12-31"), day("2021-01-02")], "harbour.csv")

    assert prepared.days == [day("2019-12-31"), day("2021-01-02")]
    assert (prepared.method, prepared.chunks, prepared.duplicates) == ("chunked", 2, 1)
    assert prepared.gaps == 367


@given(st.lists(st.integers(0, 1500)), st.randoms(use_true_random=False))
def test_both_ways_of_preparing_agree(offsets: list[int], chance: random.Random) -> None:
    calendar = days("2018-06-01", 1501)
    record: list[Day] = [calendar[offset] for offset in offsets]
    chance.shuffle(record)

    chunked, direct = prepare_chunked(record, "x"), prepare_direct(record, "x")

    assert chunked.days == direct.days
    assert (chunked.gaps, chunked.duplicates) == (direct.gaps, direct.duplicates)
