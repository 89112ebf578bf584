"""Draws the findings as an SVG picture: three panels over one time axis."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar
from xml.sax.saxutils import escape, quoteattr

from weather_axes import Time, Values, dates, round_ticks
from weather_findings import Findings
from weather_periods import Grain, Period, day_name

WIDTH, HEIGHT = 960, 680
LEFT, RIGHT = 60, 932
HIGH, LOW, RAIN, WIND = "#c2410c", "#2563eb", "#0e7490", "#4d7c0f"
INK, MUTED, RULE = "#1f2937", "#6b7280", "#e5e7eb"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
STYLE = f'width="{WIDTH}" height="{HEIGHT}" font-family={quoteattr(FONT)} font-size="13" fill="{INK}"'
LETTER = 8.5
WIDEST_BAR = 48.0
DOTTED_UP_TO = 62
# A mean of fewer of a period's days says more about the season they fell in than about the period.
ENOUGH: dict[Grain, float] = {"day": 1.0, "month": 0.5, "year": 0.9}
MEANS: dict[Grain, str] = {"day": "daily", "month": "monthly mean of daily", "year": "yearly mean of daily"}
MEAN: dict[Grain, str] = {"day": "daily mean", "month": "monthly mean", "year": "yearly mean"}


class Point(Protocol):
    """Whatever belongs to one period."""

    @property
    def period(self) -> Period: ...


P = TypeVar("P", bound=Point)


def draw(findings: Findings, name: str) -> str:
    """A whole SVG document that needs nothing from outside."""
    periods = [point.period for point in findings.temperature.series]
    end = periods[-1].start.toordinal() + periods[-1].full
    time = Time(LEFT, RIGHT, first=periods[0].start.toordinal(), end=end)
    span = f"{day_name(findings.first)} to {day_name(findings.last)}, {_days(findings.days)}"
    shown = name if len(name) <= 40 else name[:39] + "…"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {STYLE} role="img">',
        f"<title>{escape(name)}: temperature, precipitation and wind</title>",
        f"<desc>{escape(span)}</desc>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 38, shown, size=22, weight=600),
        _text(RIGHT, 38, span, anchor="end", fill=MUTED),
        *_temperature(findings, time),
        *_precipitation(findings, time),
        *_wind(findings, time),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _temperature(findings: Findings, time: Time) -> Iterator[str]:
    heat = findings.temperature
    series = _telling(heat.series, findings.grain)
    lows, highs = [point.low for point in series], [point.high for point in series]
    values = Values(96, 300, round_ticks(min(lows + highs), max(lows + highs)))
    what = MEANS[findings.grain]
    yield from _frame(time, values, findings.grain)
    yield _heading(values, "Temperature", f"°C, {what}", [("maximum", HIGH), ("minimum", LOW)])
    fact = f"hottest day {_number(heat.hottest.value)} °C, {day_name(heat.hottest.date)}"
    yield _text(RIGHT, values.top - 14, fact, anchor="end", fill=MUTED)
    for run in _runs(series):
        there = [(time.middle(point.period), values.at(point.high)) for point in run]
        back = [(time.middle(point.period), values.at(point.low)) for point in reversed(run)]
        yield f'<polygon points="{_points(there + back)}" fill="{HIGH}" fill-opacity="0.10"/>'
    yield from _line(series, lambda point: point.high, time, values, HIGH)
    yield from _line(series, lambda point: point.low, time, values, LOW)


def _precipitation(findings: Findings, time: Time) -> Iterator[str]:
    rain = findings.precipitation
    values = Values(372, 492, round_ticks(0.0, max(point.total for point in rain.series)))
    yield from _frame(time, values, findings.grain)
    partial = [] if _all_full(rain.series) else [("pale: days missing", MUTED)]
    yield _heading(values, "Precipitation", f"mm a {findings.grain}", partial)
    fact = f"wettest day {_number(rain.wettest.value)} mm, {day_name(rain.wettest.date)}"
    yield _text(RIGHT, values.top - 14, fact, anchor="end", fill=MUTED)
    for point in rain.series:
        width = min(time.width(point.period) * 0.78, WIDEST_BAR)
        left, top = time.middle(point.period) - width / 2, values.at(point.total)
        opacity = 1 if point.period.days == point.period.full else 0.4
        yield (
            f'<rect x="{left:.2f}" y="{top:.2f}" width="{width:.2f}" height="{values.bottom - top:.2f}"'
            f' fill="{RAIN}" fill-opacity="{opacity}"/>'
        )


def _wind(findings: Findings, time: Time) -> Iterator[str]:
    wind = findings.wind
    series = _telling(wind.series, findings.grain)
    values = Values(564, 640, round_ticks(0.0, max(point.mean for point in series)))
    yield from _frame(time, values, findings.grain)
    yield _heading(values, "Wind", f"m/s, {MEAN[findings.grain]}", [])
    fact = f"windiest day {_number(wind.strongest.value)} m/s, {day_name(wind.strongest.date)}"
    yield _text(RIGHT, values.top - 14, fact, anchor="end", fill=MUTED)
    yield from _line(series, lambda point: point.mean, time, values, WIND)


def _frame(time: Time, values: Values, grain: Grain) -> Iterator[str]:
    """Rules and labels of both axes."""
    for value in values.ticks:
        y = values.at(value)
        colour = MUTED if value == 0 else RULE
        yield f'<path d="M{LEFT} {y:.2f}H{RIGHT}" stroke="{colour}"/>'
        yield _text(LEFT - 8, y + 4, _number(value), anchor="end", fill=MUTED)
    for ordinal, label in dates(time, grain):
        x = time.at(ordinal)
        yield f'<path d="M{x:.2f} {values.top}V{values.bottom + 5}" stroke="{RULE}"/>'
        if x + LETTER * len(label) < WIDTH:
            yield _text(x + 3, values.bottom + 18, label, fill=MUTED)


def _heading(values: Values, name: str, what: str, keys: list[tuple[str, str]]) -> str:
    parts = [
        f'<tspan font-weight="600">{escape(name)}</tspan>',
        f'<tspan dx="6" fill="{MUTED}">{escape(what)}</tspan>',
    ]
    parts += [f'<tspan dx="9" font-weight="600" fill="{fill}">{escape(key)}</tspan>' for key, fill in keys]
    return f'<text x="{LEFT}" y="{values.top - 14}">{"".join(parts)}</text>'


def _line(series: list[P], value: Callable[[P], float], time: Time, values: Values, colour: str) -> Iterator[str]:
    """A line that breaks where periods are missing; dots where there is room for them."""
    for run in _runs(series):
        places = [(time.middle(point.period), values.at(value(point))) for point in run]
        yield (
            f'<polyline points="{_points(places)}" fill="none" stroke="{colour}" stroke-width="2"'
            ' stroke-linejoin="round"/>'
        )
        if len(series) <= DOTTED_UP_TO or len(run) == 1:
            yield from (f'<circle cx="{x:.2f}" cy="{y:.2f}" r="2.6" fill="{colour}"/>' for x, y in places)


def _runs(series: list[P]) -> list[list[P]]:
    """The series split wherever the next period does not follow at once."""
    runs: list[list[P]] = []
    due = -1
    for point in series:
        start = point.period.start.toordinal()
        if start != due:
            runs.append([])
        runs[-1].append(point)
        due = start + point.period.full
    return runs


def _telling(series: list[P], grain: Grain) -> list[P]:
    """The points whose means rest on enough days; all of them if there are no such points."""
    enough = ENOUGH[grain]
    return [point for point in series if point.period.days >= enough * point.period.full] or series


def _all_full(series: Iterable[Point]) -> bool:
    return all(point.period.days == point.period.full for point in series)


def _points(places: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    size: int = 13,
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"'
        f' font-weight="{weight}">{escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _days(count: int) -> str:
    return f"{count:,} day" if count == 1 else f"{count:,} days"
