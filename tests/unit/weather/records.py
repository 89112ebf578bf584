"""Small records of daily weather to test with."""

import datetime as dt
from pathlib import Path

import weather_summaries as summaries
from weather_days import Day
from weather_findings import Findings, Origin, Sections, merge

EXAMPLE = Path(__file__).parents[3] / "examples" / "weather"
SEATTLE = EXAMPLE / "data" / "seattle-weather.csv"
SEATTLE_2012 = EXAMPLE / "data" / "seattle-weather-2012.csv"


def day(
    date: str,
    *,
    high: float = 10.0,
    low: float = 5.0,
    rain: float = 0.0,
    wind: float = 3.0,
    weather: str = "sun",
) -> Day:
    return Day(
        date=dt.date.fromisoformat(date),
        precipitation=rain,
        temp_max=high,
        temp_min=low,
        wind=wind,
        weather=weather,
    )


def days(first: str, count: int) -> list[Day]:
    """Consecutive days, all alike."""
    start = dt.date.fromisoformat(first)
    return [day((start + dt.timedelta(days=number)).isoformat()) for number in range(count)]


def sections(record: list[Day]) -> Sections:
    return Sections(
        temperature=summaries.temperature(record),
        precipitation=summaries.precipitation(record),
        wind=summaries.wind(record),
    )


def findings(record: list[Day], source: str = "harbour.csv") -> Findings:
    return merge(sections(record), Origin(source=source))
