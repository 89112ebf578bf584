"""One day of weather, and how a list of them is put in order."""

import datetime as dt
from collections.abc import Iterable
from typing import Annotated

import msgspec


class Day(msgspec.Struct, frozen=True):
    """Temperatures in degrees Celsius, precipitation in millimetres, wind in metres a second."""

    date: dt.date
    precipitation: float
    temp_max: float
    temp_min: float
    wind: float
    weather: str = ""


Days = Annotated[list[Day], msgspec.Meta(min_length=1)]


class Record(msgspec.Struct, frozen=True):
    """What the reader found in a file, in the order of the file."""

    source: str
    days: list[Day]


class Prepared(msgspec.Struct, frozen=True):
    """Days in order of date, each once. `method` says how they were prepared: "chunked" or "direct"."""

    source: str
    days: list[Day]
    method: str
    chunks: int
    gaps: int
    duplicates: int


def clean(days: Iterable[Day]) -> list[Day]:
    """The days in order of date. Of several with one date the first is kept."""
    by_date: dict[dt.date, Day] = {}
    for day in days:
        by_date.setdefault(day.date, day)
    return [by_date[date] for date in sorted(by_date)]


def years(days: Iterable[Day]) -> list[list[Day]]:
    """The days split by calendar year, oldest year first."""
    by_year: dict[int, list[Day]] = {}
    for day in days:
        by_year.setdefault(day.date.year, []).append(day)
    return [by_year[year] for year in sorted(by_year)]


def gaps(ordered: list[Day]) -> int:
    """How many calendar days are missing between the first and the last."""
    if not ordered:
        return 0
    return (ordered[-1].date - ordered[0].date).days + 1 - len(ordered)


def prepare_chunked(days: list[Day], source: str) -> Prepared:
    """Cleans one calendar year after the other: no step ever sorts more than 366 dates."""
    chunks = [clean(year) for year in years(days)]
    joined = [day for chunk in chunks for day in chunk]
    return _prepared(joined, days, source, method="chunked", chunks=len(chunks))


def prepare_direct(days: list[Day], source: str) -> Prepared:
    """Cleans everything in one go."""
    return _prepared(clean(days), days, source, method="direct", chunks=1)


def _prepared(ordered: list[Day], given: list[Day], source: str, *, method: str, chunks: int) -> Prepared:
    return Prepared(
        source=source,
        days=ordered,
        method=method,
        chunks=chunks,
        gaps=gaps(ordered),
        duplicates=len(given) - len(ordered),
    )
