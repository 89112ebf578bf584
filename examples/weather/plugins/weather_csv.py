"""Reads daily weather from a CSV file, or says in one sentence why it cannot."""

import csv
import datetime as dt
import io
import math
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from weather_days import Day, Record

ROW_LIMIT = 20_000
JSON_LIMIT = 2_500_000
FILE_LIMIT = 16_000_000

# The range outside of which a number is surely not in the unit we expect.
RANGES = {
    "precipitation": (0.0, 2000.0, "mm"),
    "temp_max": (-100.0, 70.0, "degrees Celsius"),
    "temp_min": (-100.0, 70.0, "degrees Celsius"),
    "wind": (0.0, 150.0, "m/s"),
}
COLUMNS = ("date", *RANGES, "weather")


class RecordError(Exception):
    """
    A file that cannot be used: what happened, which file, what to do next.

    `retryable` is true only where the same file may be fine a moment later.
    """

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str], *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata)
        self.retryable = retryable


def read_record(path: str) -> Record:
    """The days in the CSV file at `path`, or RecordError."""
    file = Path(path).absolute()
    days = list(_days(_text(file), file))
    if not days:
        raise _empty(file)
    record = Record(source=path, days=days)
    size = len(msgspec.json.encode(record))
    if size > JSON_LIMIT:
        raise _too_large(file, f"{len(days):,} rows that make {size:,} bytes of JSON")
    return record


def _text(file: Path) -> str:
    data = _bytes(file)
    if len(data) > FILE_LIMIT:
        raise _too_large(file, f"more than {FILE_LIMIT:,} bytes")
    if not data:
        raise _empty(file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _binary(file, f"byte {error.start} is not UTF-8") from error
    if "\0" in text:
        raise _binary(file, f"there is a NUL byte at {data.index(0)}")
    return text


def _bytes(file: Path) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise _missing(file)  # a pipe would be waited for, a directory cannot be read
        with file.open("rb") as stream:
            return stream.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise _missing(file) from error  # ValueError: a path with a NUL in it
    except OSError as error:
        raise RecordError(
            "CSV_UNREADABLE",
            f"{file} cannot be read ({error.strerror}); check its permissions and its disk",
            {"file": str(file)},
            retryable=True,
        ) from error


def _days(text: str, file: Path) -> Iterator[Day]:
    """One Day for each row that is not blank."""
    rows = csv.reader(io.StringIO(text, newline=""))
    header: list[str] = []
    count = 0
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = _header(row, file)
                continue
            count += 1
            if count > ROW_LIMIT:
                raise _too_large(file, f"more than {ROW_LIMIT:,} rows")
            yield _day(_cells(header, row, rows.line_num, file), rows.line_num, file)
    except csv.Error as error:
        raise _binary(file, f"line {rows.line_num}: {error}") from error


def _header(row: list[str], file: Path) -> list[str]:
    header = [name.strip().lower() for name in row]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise RecordError(
            "CSV_COLUMNS",
            f"{file} lacks the columns {', '.join(missing)}; its first line must name"
            f" {', '.join(COLUMNS)}, separated by commas, in any order",
            {"file": str(file), "missing": ",".join(missing), "wanted": ",".join(COLUMNS)},
        )
    return header


def _cells(header: list[str], row: list[str], line: int, file: Path) -> dict[str, str]:
    surplus = [cell for cell in row[len(header) :] if cell.strip()]
    if surplus:
        wanted = f"nothing, for the first line names {len(header)} columns"
        raise _value(file, line, str(len(header) + 1), surplus[0], wanted)
    cells = dict.fromkeys(header, "")
    cells.update(zip(header, (cell.strip() for cell in row), strict=False))
    return cells


def _day(cells: dict[str, str], line: int, file: Path) -> Day:
    date = _date(cells["date"])
    if date is None:
        raise _value(file, line, "date", cells["date"], "a date such as 2012-01-31")
    numbers: dict[str, float] = {}
    for column, (low, high, unit) in RANGES.items():
        number = _number(cells[column])
        if not low <= number <= high:
            raise _value(file, line, column, cells[column], f"a number of {low:g} to {high:g} {unit}")
        numbers[column] = number
    return Day(date=date, weather=cells["weather"], **numbers)


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None


def _number(text: str) -> float:
    """NaN, which no range contains, for whatever is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _missing(file: Path) -> RecordError:
    return RecordError(
        "CSV_MISSING",
        f"there is no file {file}; give the path of a CSV file on the machine that runs weather.reader",
        {"file": str(file)},
    )


def _empty(file: Path) -> RecordError:
    return RecordError(
        "CSV_EMPTY", f"{file} holds no rows; it needs a header line and at least one day", {"file": str(file)}
    )


def _binary(file: Path, detail: str) -> RecordError:
    return RecordError(
        "CSV_BINARY", f"{file} is not plain text ({detail}); save it as CSV in UTF-8", {"file": str(file)}
    )


def _too_large(file: Path, detail: str) -> RecordError:
    return RecordError(
        "CSV_TOO_LARGE",
        f"{file} is too large: {detail}; split it into files of at most {ROW_LIMIT:,} rows"
        f" and {JSON_LIMIT:,} bytes of JSON",
        {"file": str(file), "row_limit": str(ROW_LIMIT), "json_limit": str(JSON_LIMIT)},
    )


def _value(file: Path, line: int, column: str, found: str, wanted: str) -> RecordError:
    shown = repr(found if len(found) <= 40 else found[:40] + "...") if found else "nothing"
    return RecordError(
        "CSV_VALUE",
        f"{file}, line {line}, column {column}: found {shown}, wanted {wanted}; correct the line",
        {"file": str(file), "line": str(line), "column": column, "found": found[:200]},
    )
