"""Splits a record into the days, months or years that a chart shows."""

import calendar
import datetime as dt
from collections.abc import Callable
from typing import Literal

import msgspec
from weather_days import Day

Grain = Literal["day", "month", "year"]
MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Period(msgspec.Struct, frozen=True):
    """A day, month or year by its first date: how many calendar days it has, and how many are on record."""

    start: dt.date
    full: int
    days: int


def grain_of(first: dt.date, last: dt.date) -> Grain:
    """The finest grain that leaves a chart readable."""
    span = (last - first).days + 1
    if span <= 62:
        return "day"
    return "month" if span <= 3653 else "year"


def split(days: list[Day], grain: Grain) -> list[tuple[Period, list[Day]]]:
    """The periods that have at least one day, in order, each with its days."""
    start_of, length_of = _GRAINS[grain]
    groups: dict[dt.date, list[Day]] = {}
    for day in days:
        groups.setdefault(start_of(day.date), []).append(day)
    return [
        (Period(start=start, full=length_of(start), days=len(groups[start])), groups[start]) for start in sorted(groups)
    ]


def month_name(month: dt.date) -> str:
    """Such as "Nov 2012", whatever the locale."""
    return f"{MONTH_NAMES[month.month - 1]} {month.year}"


def day_name(date: dt.date) -> str:
    """Such as "3 Nov 2012"."""
    return f"{date.day} {month_name(date)}"


def _month_length(start: dt.date) -> int:
    return calendar.monthrange(start.year, start.month)[1]


def _year_length(start: dt.date) -> int:
    return 366 if calendar.isleap(start.year) else 365


_Start = Callable[[dt.date], dt.date]
_Length = Callable[[dt.date], int]
_GRAINS: dict[Grain, tuple[_Start, _Length]] = {
    "day": (lambda date: date, lambda _: 1),
    "month": (lambda date: date.replace(day=1), _month_length),
    "year": (lambda date: date.replace(month=1, day=1), _year_length),
}
