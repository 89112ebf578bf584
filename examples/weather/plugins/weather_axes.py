"""Where things stand in a chart: round numbers for the values, dates for the time."""

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

from weather_periods import MONTH_NAMES, Grain, Period


@dataclass(frozen=True, slots=True)
class Values:
    """An axis from the first tick at `bottom` to the last at `top`, in pixels downwards."""

    top: float
    bottom: float
    ticks: list[float]

    def at(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Time:
    """An axis from `left` to `right` over the days, as ordinals, from `first` to the one before `end`."""

    left: float
    right: float
    first: int
    end: int

    def at(self, ordinal: float) -> float:
        return self.left + (ordinal - self.first) / (self.end - self.first) * (self.right - self.left)

    def middle(self, period: Period) -> float:
        return self.at(period.start.toordinal() + period.full / 2)

    def width(self, period: Period) -> float:
        return self.at(self.first + period.full) - self.left


def round_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that enclose both."""
    if high <= low:
        high = low + 1.0
    rough = (high - low) / 4
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * count, 10) for count in range(first, last + 1)]


def dates(time: Time, grain: Grain) -> Iterator[tuple[int, str]]:
    """Days worth a label, as ordinals, each with the label."""
    span = time.end - time.first
    if grain == "day":
        yield from _day_labels(time, step=math.ceil(span / 9))
    elif span <= 600:
        yield from _month_labels(time, step=math.ceil(span / 400))
    else:
        yield from _year_labels(time)


def _day_labels(time: Time, step: int) -> Iterator[tuple[int, str]]:
    year = 0
    for ordinal in range(time.first, time.end, step):
        date = dt.date.fromordinal(ordinal)
        label = f"{date.day} {MONTH_NAMES[date.month - 1]}"
        yield ordinal, label if date.year == year else f"{label} {date.year}"
        year = date.year


def _month_labels(time: Time, step: int) -> Iterator[tuple[int, str]]:
    year = 0
    days = (dt.date.fromordinal(ordinal) for ordinal in range(time.first, time.end))
    for month in [day for day in days if day.day == 1][::step]:
        name = MONTH_NAMES[month.month - 1]
        yield month.toordinal(), name if month.year == year else f"{name} {month.year}"
        year = month.year


def _year_labels(time: Time) -> Iterator[tuple[int, str]]:
    first = dt.date.fromordinal(time.first)
    last = dt.date.fromordinal(time.end - 1)
    years = last.year - first.year
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if years <= step * 14)
    for year in range(-(-first.year // step) * step, last.year + 1, step):
        date = dt.date(max(year, 1), 1, 1)
        if date >= first:
            yield date.toordinal(), str(year)
