import datetime as dt
import re
from xml.etree import ElementTree as ET

import pytest
from weather_axes import Time, dates, round_ticks
from weather_chart import HEIGHT, HIGH, RAIN, WIDTH, draw
from weather_days import Day

from tests.unit.weather.records import day, days, findings

SVG = "{http://www.w3.org/2000/svg}"
EXTREME_RECORDS = [
    days("2020-01-01", 1),
    days("2020-01-01", 2),
    days("2020-02-28", 62),
    days("2020-01-31", 63),
    days("9999-09-01", 122),
    days("1961-06-01", 20_000),
    [day("0001-01-01"), day("9999-12-31")],
    [day("2020-01-01", high=-40, low=-40, wind=0), day("2020-01-02", high=-40, low=-40, wind=0)],
    [day("2020-01-01", high=70, low=-100, rain=2000, wind=150), day("2020-03-30", high=0.001, low=0)],
]


def drawn(record: list[Day], name: str = "harbour") -> ET.Element:
    return ET.fromstring(draw(findings(record), name))


def texts(picture: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def bars(picture: ET.Element) -> list[ET.Element]:
    return [bar for bar in picture.iter(f"{SVG}rect") if bar.get("fill") == RAIN]


@pytest.mark.parametrize("record", EXTREME_RECORDS, ids=lambda record: f"{record[0].date}-{len(record)}")
def test_every_record_makes_a_picture_that_stays_on_its_canvas(record: list[Day]) -> None:
    picture = drawn(record)

    for line in [*picture.iter(f"{SVG}polyline"), *picture.iter(f"{SVG}polygon")]:
        for x, y in re.findall(r"([^ ,]+),([^ ,]+)", line.get("points", "")):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
    for bar in bars(picture):
        assert float(bar.get("height", "-1")) >= 0
    assert "harbour" in texts(picture)


def test_the_picture_refers_to_nothing_outside_itself() -> None:
    svg = draw(findings(days("2020-01-01", 40)), "harbour")

    assert svg.count("http") == svg.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert "href" not in svg
    assert "url(" not in svg


def test_names_are_escaped() -> None:
    picture = drawn(days("2020-01-01", 2), name="<script>&\"'")

    assert "<script>&\"'" in texts(picture)
    assert not list(picture.iter(f"{SVG}script"))


def test_every_period_has_a_bar_in_proportion_to_its_rain() -> None:
    first, second = bars(drawn([day("2020-01-01", rain=10), day("2020-01-02", rain=5)]))

    assert float(first.get("height", "0")) == 2 * float(second.get("height", "0"))


def test_a_line_breaks_where_days_are_missing() -> None:
    picture = drawn([*days("2020-01-01", 3), *days("2020-01-10", 4)])

    lines = [line.get("points", "") for line in picture.iter(f"{SVG}polyline") if line.get("stroke") == HIGH]
    assert [len(line.split()) for line in lines] == [3, 4]


def test_a_month_with_missing_days_has_a_pale_bar_and_a_legend() -> None:
    picture = drawn(days("2020-01-01", 80))

    assert [bar.get("fill-opacity") for bar in bars(picture)] == ["1", "1", "0.4"]
    assert "Precipitation" + "mm a month" + "pale: days missing" in texts(picture)


def test_a_year_that_lacks_its_winter_does_not_bend_the_temperature() -> None:
    picture = drawn([day("2000-07-01", high=30), *days("2001-01-01", 4017)])

    (line,) = [line for line in picture.iter(f"{SVG}polyline") if line.get("stroke") == HIGH]
    assert len(line.get("points", "").split()) == 11


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 284.5, [0, 100, 200, 300]),
        (-7.1, 35.6, [-20, 0, 20, 40]),
        (0, 0, [0, 0.5, 1]),
        (3, 3, [3, 3.5, 4]),
        (0.8, 28.1, [0, 10, 20, 30]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == ticks


def test_only_the_first_label_of_a_year_names_it() -> None:
    first, end = dt.date(2019, 11, 1).toordinal(), dt.date(2020, 3, 1).toordinal()

    labels = [label for _, label in dates(Time(0, 1, first=first, end=end), "month")]

    assert labels == ["Nov 2019", "Dec", "Jan 2020", "Feb"]


def test_decades_are_labelled_in_round_years() -> None:
    first, end = dt.date(1961, 1, 1).toordinal(), dt.date(2017, 1, 1).toordinal()

    labels = [label for _, label in dates(Time(0, 1, first=first, end=end), "year")]

    assert labels == ["1965", "1970", "1975", "1980", "1985", "1990", "1995", "2000", "2005", "2010", "2015"]
