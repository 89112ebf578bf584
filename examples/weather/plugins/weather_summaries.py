"""What is said about a record of daily weather: the shapes, and the arithmetic behind them."""

import datetime as dt
from collections.abc import Callable, Iterable
from itertools import groupby
from math import fsum

import msgspec
from weather_days import Day
from weather_periods import Grain, Period, grain_of, split

WET_MM = 1.0
TREND_YEARS = 2.0
YEAR_DAYS = 365.2425


class Extreme(msgspec.Struct, frozen=True):
    """A value and the first date it was seen on."""

    date: dt.date
    value: float


class DrySpell(msgspec.Struct, frozen=True):
    """Consecutive calendar days, each with less than 1 mm. A missing day ends a spell."""

    start: dt.date
    days: int


class WindyMonth(msgspec.Struct, frozen=True):
    """A month by its first date, with its mean wind."""

    month: dt.date
    mean: float


class TemperaturePoint(msgspec.Struct, frozen=True):
    """Mean daily maximum and minimum of one period."""

    period: Period
    high: float
    low: float


class PrecipitationPoint(msgspec.Struct, frozen=True):
    """Sum of one period."""

    period: Period
    total: float


class WindPoint(msgspec.Struct, frozen=True):
    """Mean of one period."""

    period: Period
    mean: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What every summary says about the record it was made from."""

    first: dt.date
    last: dt.date
    days: int
    grain: Grain


class Temperature(Summary, frozen=True, kw_only=True):
    """
    Degrees Celsius.

    The trend is that of the daily maximum in degrees a decade, freed of the seasons; a record shorter
    than two years has none.
    """

    mean_high: float
    mean_low: float
    hottest: Extreme
    coldest: Extreme
    trend_per_decade: float | None
    series: list[TemperaturePoint]


class Precipitation(Summary, frozen=True, kw_only=True):
    """Millimetres. A wet day has at least 1 mm."""

    total: float
    wet_days: int
    wettest: Extreme
    longest_dry_spell: DrySpell | None
    series: list[PrecipitationPoint]


class Wind(Summary, frozen=True, kw_only=True):
    """Metres a second."""

    mean: float
    strongest: Extreme
    windiest_month: WindyMonth
    series: list[WindPoint]


def temperature(days: list[Day]) -> Temperature:
    """Of at least one day, in order of date."""
    grain = grain_of(days[0].date, days[-1].date)
    return Temperature(
        first=days[0].date,
        last=days[-1].date,
        days=len(days),
        grain=grain,
        mean_high=_mean(day.temp_max for day in days),
        mean_low=_mean(day.temp_min for day in days),
        hottest=_extreme(days, lambda day: day.temp_max),
        coldest=_extreme(days, lambda day: day.temp_min, sign=-1),
        trend_per_decade=trend_per_decade(days),
        series=[
            TemperaturePoint(period, _mean(day.temp_max for day in own), _mean(day.temp_min for day in own))
            for period, own in split(days, grain)
        ],
    )


def precipitation(days: list[Day]) -> Precipitation:
    """Of at least one day, in order of date."""
    grain = grain_of(days[0].date, days[-1].date)
    return Precipitation(
        first=days[0].date,
        last=days[-1].date,
        days=len(days),
        grain=grain,
        total=_total(days),
        wet_days=sum(day.precipitation >= WET_MM for day in days),
        wettest=_extreme(days, lambda day: day.precipitation),
        longest_dry_spell=longest_dry_spell(days),
        series=[PrecipitationPoint(period, _total(own)) for period, own in split(days, grain)],
    )


def wind(days: list[Day]) -> Wind:
    """Of at least one day, in order of date."""
    grain = grain_of(days[0].date, days[-1].date)
    return Wind(
        first=days[0].date,
        last=days[-1].date,
        days=len(days),
        grain=grain,
        mean=_mean(day.wind for day in days),
        strongest=_extreme(days, lambda day: day.wind),
        windiest_month=windiest_month(days),
        series=[WindPoint(period, _mean(day.wind for day in own)) for period, own in split(days, grain)],
    )


def trend_per_decade(days: list[Day]) -> float | None:
    """
    The slope of the daily maximum, by least squares with a level of its own for each calendar month.

    Taking each month's mean from both time and temperature gives exactly that fit, so that neither the
    seasons nor a record that ends in another month than it began can pass for a trend.
    """
    if (days[-1].date - days[0].date).days + 1 < TREND_YEARS * 365:
        return None
    months: dict[int, list[Day]] = {}
    for day in days:
        months.setdefault(day.date.month, []).append(day)
    products: list[float] = []
    squares: list[float] = []
    for own in months.values():
        moment = fsum(day.date.toordinal() for day in own) / len(own)
        level = fsum(day.temp_max for day in own) / len(own)
        for day in own:
            products.append((day.date.toordinal() - moment) * (day.temp_max - level))
            squares.append((day.date.toordinal() - moment) ** 2)
    if not any(squares):
        return None
    return round(fsum(products) / fsum(squares) * YEAR_DAYS * 10, 2)


def longest_dry_spell(days: list[Day]) -> DrySpell | None:
    """The first of the longest, or None where no day was dry."""
    dry = [day.date for day in days if day.precipitation < WET_MM]
    # Consecutive dates keep the same distance to their place in the list.
    runs = groupby(enumerate(dry), key=lambda pair: pair[1].toordinal() - pair[0])
    spells = [[date for _, date in run] for _, run in runs]
    longest = max(spells, key=len, default=None)
    return DrySpell(start=longest[0], days=len(longest)) if longest else None


def windiest_month(days: list[Day]) -> WindyMonth:
    """Months with fewer than half of their days on record do not compete, unless there are no others."""
    months = split(days, "month")
    well_covered = [pair for pair in months if 2 * pair[0].days >= pair[0].full] or months
    means = [WindyMonth(period.start, _mean(day.wind for day in own)) for period, own in well_covered]
    return max(means, key=lambda month: month.mean)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(fsum(listed) / len(listed), 2)


def _total(days: list[Day]) -> float:
    return round(fsum(day.precipitation for day in days), 2)


def _extreme(days: list[Day], value: Callable[[Day], float], sign: int = 1) -> Extreme:
    day = max(days, key=lambda day: sign * value(day))
    return Extreme(date=day.date, value=value(day))
