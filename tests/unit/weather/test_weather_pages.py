import datetime as dt
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from weather_csv import read_record
from weather_findings import Origin, merge
from weather_pages import Headline, markdown, title, write_report

from tests.unit.weather.records import SEATTLE, day, days, findings, sections


def test_a_report_is_a_page_with_its_chart_beside_it(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "out"

    written = write_report(findings(days("2020-01-01", 3), source="/data/harbour.csv"), str(directory))

    assert written.path == str(directory / "harbour-report.md")
    assert written.chart == str(directory / "harbour-report.svg")
    assert "](harbour-report.svg)" in (directory / "harbour-report.md").read_text()
    assert ET.parse(directory / "harbour-report.svg").getroot().tag.endswith("svg")


def test_a_second_report_replaces_the_first_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write_report(findings(days("2020-01-01", 3)), str(tmp_path))
    write_report(findings(days("2020-01-01", 9)), str(tmp_path))

    assert sorted(file.name for file in tmp_path.iterdir()) == ["harbour-report.md", "harbour-report.svg"]
    assert "**9 days" in (tmp_path / "harbour-report.md").read_text()


def test_the_same_findings_make_the_same_bytes(tmp_path: Path) -> None:
    told = findings(days("2020-01-01", 30))
    write_report(told, str(tmp_path / "a"))
    write_report(told, str(tmp_path / "b"))

    for name in ("harbour-report.md", "harbour-report.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "harbour-report.svg").mkdir()

    with pytest.raises(OSError, match="harbour-report"):
        write_report(findings(days("2020-01-01", 3)), str(tmp_path))

    assert [file.name for file in tmp_path.iterdir()] == ["harbour-report.svg"]


def test_the_headline_of_seattle(tmp_path: Path) -> None:
    record = read_record(str(SEATTLE))

    written = write_report(findings(record.days, source=record.source), str(tmp_path))

    assert written.headline == Headline(
        days=1461,
        mean_high=16.44,
        hottest=35.6,
        hottest_on=dt.date(2014, 8, 11),
        precipitation=4426.0,
        wet_days=506,
        longest_dry_spell=81,
        strongest_wind=9.5,
    )


def test_the_page_tells_how_the_record_was_prepared() -> None:
    origin = Origin(source="harbour.csv", method="chunked", chunks=4, gaps=1, duplicates=2)

    page = markdown(merge(sections(days("2020-01-01", 3)), origin), "harbour", "harbour-report.svg")

    assert "Prepared in 4 chunks; 2 duplicates dropped, 1 day missing." in page


def test_the_page_admits_that_a_short_record_has_no_trend() -> None:
    page = markdown(findings(days("2020-01-01", 3)), "harbour", "harbour-report.svg")

    assert "| Trend of the daily maximum | none | the record is too short |" in page


def test_a_record_without_a_dry_day_has_no_row_for_dry_spells() -> None:
    page = markdown(findings([day("2020-01-01", rain=3)]), "harbour", "harbour-report.svg")

    assert "dry spell" not in page


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/harbour.csv", "harbour"),
        ("harbour.2020.csv", "harbour.2020"),
        ("bay\n\x07water.csv", "baywater"),
        ("", "weather"),
    ],
)
def test_a_report_is_named_after_its_source(source: str, name: str) -> None:
    assert title(findings(days("2020-01-01", 2), source=source)) == name


def test_odd_names_cannot_break_the_page() -> None:
    page = markdown(findings(days("2020-01-01", 2)), "my_bay [<b>|1]", "my_bay [<b>|1]-report.svg")

    assert page.startswith("# Weather report: my\\_bay \\[\\<b\\>\\|1\\]\n")
    assert "](my_bay%20%5B%3Cb%3E%7C1%5D-report.svg)" in page
