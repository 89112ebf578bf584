import datetime as dt

import pytest
import weather_summaries as summaries
from weather_csv import read_record
from weather_days import Day
from weather_periods import Period
from weather_summaries import DrySpell, Extreme, PrecipitationPoint, TemperaturePoint, WindPoint, WindyMonth

from tests.unit.weather.records import SEATTLE, day, days

WEEK = [
    day("2020-01-01", high=4, low=-2, rain=0.0, wind=2.0),
    day("2020-01-02", high=8, low=1, rain=0.9, wind=5.0),
    day("2020-01-03", high=8, low=-2, rain=1.0, wind=1.0),
    day("2020-01-05", high=6, low=0, rain=12.5, wind=5.0),
]


def test_temperature_of_four_days() -> None:
    told = summaries.temperature(WEEK)

    assert (told.first, told.last, told.days) == (dt.date(2020, 1, 1), dt.date(2020, 1, 5), 4)
    assert told.mean_high == 6.5
    assert told.mean_low == -0.75
    assert told.hottest == Extreme(dt.date(2020, 1, 2), 8)
    assert told.coldest == Extreme(dt.date(2020, 1, 1), -2)
    assert told.trend_per_decade is None


def test_precipitation_of_four_days() -> None:
    told = summaries.precipitation(WEEK)

    assert told.total == 14.4
    assert told.wet_days == 2
    assert told.wettest == Extreme(dt.date(2020, 1, 5), 12.5)
    assert told.longest_dry_spell == DrySpell(dt.date(2020, 1, 1), 2)


def test_wind_of_four_days() -> None:
    told = summaries.wind(WEEK)

    assert told.mean == 3.25
    assert told.strongest == Extreme(dt.date(2020, 1, 2), 5.0)
    assert told.windiest_month == WindyMonth(dt.date(2020, 1, 1), 3.25)


def test_a_short_record_is_charted_by_day() -> None:
    told = summaries.temperature(WEEK)

    assert told.grain == "day"
    assert told.series[1] == TemperaturePoint(Period(dt.date(2020, 1, 2), full=1, days=1), high=8, low=1)
    assert len(told.series) == 4


def test_a_record_of_some_months_is_charted_by_month() -> None:
    told = summaries.precipitation([day("2020-01-31", rain=2), day("2020-02-01", rain=3), day("2020-04-30", rain=4)])

    assert told.grain == "month"
    assert told.series == [
        PrecipitationPoint(Period(dt.date(2020, 1, 1), full=31, days=1), total=2),
        PrecipitationPoint(Period(dt.date(2020, 2, 1), full=29, days=1), total=3),
        PrecipitationPoint(Period(dt.date(2020, 4, 1), full=30, days=1), total=4),
    ]


def test_a_record_of_more_than_ten_years_is_charted_by_year() -> None:
    told = summaries.wind([day("2000-03-01", wind=1), day("2000-09-01", wind=2), day("2011-01-01", wind=4)])

    assert told.grain == "year"
    assert told.series == [
        WindPoint(Period(dt.date(2000, 1, 1), full=366, days=2), mean=1.5),
        WindPoint(Period(dt.date(2011, 1, 1), full=365, days=1), mean=4),
    ]


def test_a_trend_of_two_values_is_the_line_through_them() -> None:
    record = [day("2012-01-01", high=10), day("2014-01-01", high=12)]

    # 2 degrees in 731 days, and a decade has 3652.425 of them.
    assert summaries.trend_per_decade(record) == pytest.approx(2 / 731 * 3652.425, abs=0.005)


def test_the_seasons_are_no_trend() -> None:
    record = [
        day(plain.date.isoformat(), high=10 + 5 * (plain.date.month in (6, 7, 8))) for plain in days("2012-01-01", 900)
    ]

    assert summaries.trend_per_decade(record) == 0.0


def test_the_trend_is_found_beneath_the_seasons() -> None:
    record = [
        day(plain.date.isoformat(), high=3 * plain.date.month + number * 0.5 / 3652.425)
        for number, plain in enumerate(days("2012-03-07", 1300))
    ]

    assert summaries.trend_per_decade(record) == 0.5


def test_two_values_in_different_months_make_no_trend() -> None:
    assert summaries.trend_per_decade([day("2012-01-01", high=10), day("2014-02-01", high=12)]) is None


@pytest.mark.parametrize(("count", "told"), [(729, False), (730, True)])
def test_a_trend_needs_two_years(count: int, told: bool) -> None:
    assert (summaries.trend_per_decade(days("2013-01-01", count)) is not None) is told


def test_a_missing_day_ends_a_dry_spell_and_the_first_of_the_longest_counts() -> None:
    dates = ["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05", "2020-01-07"]

    assert summaries.longest_dry_spell([day(date) for date in dates]) == DrySpell(dt.date(2020, 1, 1), 2)


def test_a_dry_spell_runs_over_the_turn_of_the_year() -> None:
    assert summaries.longest_dry_spell(days("2019-12-25", 20)) == DrySpell(dt.date(2019, 12, 25), 20)


def test_a_record_of_wet_days_has_no_dry_spell() -> None:
    assert summaries.longest_dry_spell([day("2020-01-01", rain=1.0)]) is None


def test_one_stormy_day_does_not_make_the_windiest_month() -> None:
    storm: list[Day] = [day("2020-01-31", wind=20)]

    assert summaries.windiest_month(storm + days("2020-02-01", 29)) == WindyMonth(dt.date(2020, 2, 1), 3.0)
    assert summaries.windiest_month(storm) == WindyMonth(dt.date(2020, 1, 1), 20)


def test_seattle_is_summed_up_as_its_file_says() -> None:
    record = read_record(str(SEATTLE)).days

    heat, rain, wind = summaries.temperature(record), summaries.precipitation(record), summaries.wind(record)

    assert heat.mean_high == round(sum(day.temp_max for day in record) / 1461, 2) == 16.44
    assert heat.hottest == Extreme(dt.date(2014, 8, 11), 35.6)
    assert heat.coldest == Extreme(dt.date(2013, 12, 7), -7.1)
    assert rain.total == 4426.0
    assert rain.wettest == Extreme(dt.date(2015, 3, 15), 55.9)
    assert rain.longest_dry_spell == DrySpell(dt.date(2012, 7, 23), 81)
    assert wind.strongest == Extreme(dt.date(2012, 12, 17), 9.5)
    assert len(heat.series) == len(rain.series) == len(wind.series) == 48
