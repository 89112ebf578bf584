"""The three summaries of one record brought together: what a report is made of."""

import datetime as dt

import msgspec
from weather_periods import Grain
from weather_summaries import Precipitation, Summary, Temperature, Wind


class Sections(msgspec.Struct, frozen=True):
    """One summary from each branch of the analysis."""

    temperature: Temperature
    precipitation: Precipitation
    wind: Wind


class Origin(msgspec.Struct, frozen=True):
    """Which file the record came from, and what was done to it before it was summed up."""

    source: str = "weather"
    method: str = "direct"
    chunks: int = 1
    gaps: int = 0
    duplicates: int = 0


class Findings(msgspec.Struct, frozen=True):
    """Everything the report and its chart say."""

    origin: Origin
    first: dt.date
    last: dt.date
    days: int
    grain: Grain
    temperature: Temperature
    precipitation: Precipitation
    wind: Wind


class SectionsError(ValueError):
    """The summaries were not made from the same record."""


def merge(sections: Sections, origin: Origin) -> Findings:
    """The summaries as one, provided that all of them speak of the same days."""
    ranges = {
        name: _range(summary)
        for name, summary in {
            "temperature": sections.temperature,
            "precipitation": sections.precipitation,
            "wind": sections.wind,
        }.items()
    }
    if len(set(ranges.values())) > 1:
        told = "; ".join(f"{name}: {days}" for name, days in ranges.items())
        raise SectionsError(f"the sections cover different days ({told}); give all three summaries the same days")
    return Findings(
        origin=origin,
        first=sections.temperature.first,
        last=sections.temperature.last,
        days=sections.temperature.days,
        grain=sections.temperature.grain,
        temperature=sections.temperature,
        precipitation=sections.precipitation,
        wind=sections.wind,
    )


def _range(summary: Summary) -> str:
    return f"{summary.days} days from {summary.first} to {summary.last}"
