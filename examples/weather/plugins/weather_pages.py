"""Writes a report to disk: a Markdown page and the chart it shows."""

import datetime as dt
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
from weather_chart import draw
from weather_findings import Findings
from weather_periods import day_name, month_name
from weather_summaries import Temperature

MINUS = "\N{MINUS SIGN}"


class Headline(msgspec.Struct, frozen=True):
    """The few numbers worth telling at once: degrees Celsius, millimetres, metres a second."""

    days: int
    mean_high: float
    hottest: float
    hottest_on: dt.date
    precipitation: float
    wet_days: int
    longest_dry_spell: int
    strongest_wind: float


class Written(msgspec.Struct, frozen=True):
    """The files of one report."""

    path: str
    chart: str
    headline: Headline


def write_report(findings: Findings, directory: str) -> Written:
    """Creates the directory if need be. Whoever reads a file meanwhile sees the old one or the new one."""
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    name = title(findings)
    page, chart = folder / f"{name}-report.md", folder / f"{name}-report.svg"
    _replace(chart, draw(findings, name))
    _replace(page, markdown(findings, name, chart.name))
    return Written(path=str(page), chart=str(chart), headline=headline(findings))


def title(findings: Findings) -> str:
    """The stem of the source, without what neither a file name nor XML should hold."""
    stem = Path(findings.origin.source).stem
    return "".join(letter for letter in stem if letter.isprintable()).strip() or "weather"


def headline(findings: Findings) -> Headline:
    """A summary of the summaries."""
    spell = findings.precipitation.longest_dry_spell
    return Headline(
        days=findings.days,
        mean_high=findings.temperature.mean_high,
        hottest=findings.temperature.hottest.value,
        hottest_on=findings.temperature.hottest.date,
        precipitation=findings.precipitation.total,
        wet_days=findings.precipitation.wet_days,
        longest_dry_spell=spell.days if spell else 0,
        strongest_wind=findings.wind.strongest.value,
    )


def markdown(findings: Findings, name: str, chart: str) -> str:
    """The page. `chart` is the name of a file beside it."""
    heading = f"# Weather report: {_escaped(name)}"
    picture = f"![Temperature, precipitation and wind]({quote(chart)})"
    rows = [f"| {what} | {value} | {when} |" for what, value, when in _table(findings)]
    table = "\n".join(["| | | |", "|:---|---:|:---|", *rows])
    return "\n\n".join([heading, _opening(findings), picture, table, _provenance(findings)]) + "\n"


def _opening(findings: Findings) -> str:
    """The record in two or three sentences."""
    hot, cold = findings.temperature.hottest, findings.temperature.coldest
    first, last = day_name(findings.first), day_name(findings.last)
    rain = findings.precipitation
    return (
        f"**{findings.days:,} days, {first} to {last}.**"
        f" The days reached {_signed(findings.temperature.mean_high)} °C on average:"
        f" {_signed(hot.value)} °C on the hottest, {day_name(hot.date)};"
        f" the coldest night fell to {_signed(cold.value)} °C on {day_name(cold.date)}."
        f" {rain.wet_days:,} days were wet ({100 * rain.wet_days / findings.days:.0f} %),"
        f" and {rain.total:,.0f} mm came down in all."
    )


def _table(findings: Findings) -> Iterator[tuple[str, str, str]]:
    """What, how much, when or how."""
    heat, rain, wind = findings.temperature, findings.precipitation, findings.wind
    yield "**Temperature**", "", ""
    yield "Mean daily maximum", f"{_signed(heat.mean_high)} °C", ""
    yield "Mean daily minimum", f"{_signed(heat.mean_low)} °C", ""
    yield "Hottest day", f"{_signed(heat.hottest.value)} °C", day_name(heat.hottest.date)
    yield "Coldest night", f"{_signed(heat.coldest.value)} °C", day_name(heat.coldest.date)
    yield "Trend of the daily maximum", *_trend(heat)
    yield "**Precipitation**", "", ""
    yield "Total", f"{rain.total:,.1f} mm", ""
    yield "Wet days", f"{rain.wet_days:,}", "at least 1 mm"
    yield "Wettest day", f"{rain.wettest.value:.1f} mm", day_name(rain.wettest.date)
    if rain.longest_dry_spell:
        spell = rain.longest_dry_spell
        yield "Longest dry spell", _counted(spell.days, "day"), f"from {day_name(spell.start)}"
    yield "**Wind**", "", ""
    yield "Mean", f"{wind.mean:.1f} m/s", ""
    yield "Windiest day", f"{wind.strongest.value:.1f} m/s", day_name(wind.strongest.date)
    yield "Windiest month", f"{wind.windiest_month.mean:.1f} m/s", month_name(wind.windiest_month.month)


def _trend(heat: Temperature) -> tuple[str, str]:
    if heat.trend_per_decade is None:
        return "none", "the record is too short"
    years = ((heat.last - heat.first).days + 1) / 365.2425
    return f"{heat.trend_per_decade:+.1f} °C".replace("-", MINUS), f"a decade, over {years:.1f} years"


def _provenance(findings: Findings) -> str:
    origin = findings.origin
    parts = "in one go" if origin.method == "direct" else f"in {_counted(origin.chunks, 'chunk')}"
    return (
        f"*Prepared {parts}; {_counted(origin.duplicates, 'duplicate')} dropped,"
        f" {_counted(origin.gaps, 'day')} missing. A trend describes this record, not the climate.*"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _signed(number: float) -> str:
    return f"{number:.1f}".replace("-", MINUS)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)


def _replace(path: Path, text: str) -> None:
    """Writes beside the file, then renames over it."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
