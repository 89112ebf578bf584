import datetime as dt
import os
from pathlib import Path

import pytest
import weather_csv
from weather_csv import RecordError, read_record
from weather_days import Day

from tests.unit.weather.records import SEATTLE, SEATTLE_2012

HEADER = "date,precipitation,temp_max,temp_min,wind,weather\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "harbour.csv"


def refusal(path: Path | str) -> RecordError:
    with pytest.raises(RecordError) as refused:
        read_record(str(path))
    return refused.value


def test_the_four_years_of_seattle_are_read_in_full() -> None:
    record = read_record(str(SEATTLE))

    assert len(record.days) == 1461
    assert record.source == str(SEATTLE)
    assert record.days[0] == Day(dt.date(2012, 1, 1), 0.0, 12.8, 5.0, 4.7, "drizzle")
    assert record.days[-1].date == dt.date(2015, 12, 31)


def test_the_small_file_is_the_first_year_of_the_large_one() -> None:
    small = read_record(str(SEATTLE_2012)).days

    assert small == read_record(str(SEATTLE)).days[:366]
    assert small[-1].date == dt.date(2012, 12, 31)


def test_columns_may_stand_in_any_order_and_others_are_ignored(file: Path) -> None:
    file.write_text("Wind, DATE,station,weather,temp_min,temp_max,precipitation\n3,2020-01-31,X1,,1,7,0.2\n")

    assert read_record(str(file)).days == [Day(dt.date(2020, 1, 31), 0.2, 7.0, 1.0, 3.0, "")]


def test_a_byte_order_mark_windows_line_ends_blank_lines_and_trailing_commas_do_no_harm(file: Path) -> None:
    file.write_bytes(
        b"\xef\xbb\xbf\r\n" + HEADER.encode().replace(b"\n", b"\r\n\r\n") + b"2020/01/31,0,7,1,3,fog,,\r\n"
    )

    assert read_record(str(file)).days == [Day(dt.date(2020, 1, 31), 0.0, 7.0, 1.0, 3.0, "fog")]


@pytest.mark.parametrize("path", ["nowhere.csv", ".", "", "nul\0byte.csv"])
def test_what_is_not_a_file_is_missing(tmp_path: Path, path: str) -> None:
    refused = refusal(str(tmp_path / path))

    assert refused.reason == "CSV_MISSING"
    assert "give the path of a CSV file" in str(refused)
    assert not refused.retryable


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert refusal(tmp_path / "pipe").reason == "CSV_MISSING"


def test_a_file_that_cannot_be_reached_may_be_tried_again(tmp_path: Path) -> None:
    refused = refusal(tmp_path / ("x" * 300))

    assert refused.reason == "CSV_UNREADABLE"
    assert refused.retryable


def test_a_missing_file_is_named_by_its_full_path() -> None:
    refused = refusal("nowhere.csv")

    assert str(Path.cwd() / "nowhere.csv") in str(refused)
    assert refused.metadata == {"file": str(Path.cwd() / "nowhere.csv")}


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, HEADER + "\n , ,\n"])
def test_a_file_without_rows_is_empty(file: Path, text: str) -> None:
    file.write_text(text)

    refused = refusal(file)

    assert refused.reason == "CSV_EMPTY"
    assert str(refused) == f"{file} holds no rows; it needs a header line and at least one day"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (HEADER.encode("utf-16"), "byte 0 is not UTF-8"),
        (HEADER.encode() + b"2020-01-31,0,7,1,3,brouill\xe9\n", "byte 76 is not UTF-8"),
        (b"PK\x03\x04\x00\x00", "there is a NUL byte at 4"),
        (HEADER.encode() + b'2020-01-31,0,7,1,3,"' + b"x" * 140_000, "line 2: field larger than field limit"),
    ],
)
def test_what_is_not_text_is_binary(file: Path, data: bytes, detail: str) -> None:
    file.write_bytes(data)

    refused = refusal(file)

    assert refused.reason == "CSV_BINARY"
    assert f"{file} is not plain text ({detail}" in str(refused)


def test_missing_columns_are_named_together_with_the_wanted_ones(file: Path) -> None:
    file.write_text("date,temp_max,temp_min,weather\n2020-01-31,7,1,sun\n")

    refused = refusal(file)

    assert refused.reason == "CSV_COLUMNS"
    assert str(refused) == (
        f"{file} lacks the columns precipitation, wind; its first line must name date, precipitation,"
        " temp_max, temp_min, wind, weather, separated by commas, in any order"
    )
    assert refused.metadata["missing"] == "precipitation,wind"


@pytest.mark.parametrize(
    ("row", "column", "found"),
    [
        ("31.1.2020,0,7,1,3,sun", "date", "31.1.2020"),
        ("2020-02-30,0,7,1,3,sun", "date", "2020-02-30"),
        ("2020-01-31,trace,7,1,3,sun", "precipitation", "trace"),
        ("2020-01-31,-1,7,1,3,sun", "precipitation", "-1"),
        ("2020-01-31,0,NaN,1,3,sun", "temp_max", "NaN"),
        ("2020-01-31,0,95,71,3,sun", "temp_max", "95"),
        ("2020-01-31,0,7,-inf,3,sun", "temp_min", "-inf"),
        ("2020-01-31,0,7,1", "wind", ""),
        ("2020-01-31,0,7,1,3,sun,8", "7", "8"),
    ],
)
def test_a_bad_value_is_shown_with_its_line_and_column(file: Path, row: str, column: str, found: str) -> None:
    file.write_text(f"{HEADER}2020-01-30,0,7,1,3,sun\n{row}\n")

    refused = refusal(file)

    assert refused.reason == "CSV_VALUE"
    shown = repr(found) if found else "nothing"
    assert str(refused).startswith(f"{file}, line 3, column {column}: found {shown}, wanted ")
    assert refused.metadata == {"file": str(file), "line": "3", "column": column, "found": found}


def test_twenty_thousand_rows_are_read_and_one_more_is_too_large(file: Path) -> None:
    row = "2020-01-31,0,7,1,3,sun\n"
    file.write_text(HEADER + row * 20_000)
    assert len(read_record(str(file)).days) == 20_000

    file.write_text(HEADER + row * 20_001)
    refused = refusal(file)

    assert refused.reason == "CSV_TOO_LARGE"
    assert "more than 20,000 rows; split it into files of at most 20,000 rows" in str(refused)


def test_few_rows_that_make_too_much_json_are_too_large(file: Path) -> None:
    file.write_text(HEADER + f"2020-01-31,0,7,1,3,{'x' * 1000}\n" * 2600)

    refused = refusal(file)

    assert refused.reason == "CSV_TOO_LARGE"
    assert "2,600 rows that make 2,8" in str(refused)
    assert "2,500,000 bytes of JSON" in str(refused)


def test_a_huge_file_is_refused_without_being_parsed(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(weather_csv.FILE_LIMIT + 1)

    assert refusal(file).reason == "CSV_TOO_LARGE"
