import sqlite3
import zlib
from functools import partial
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.faults.service import DataCorrupted
from tests.component.byteflips import crashed_copy, fates_of_flips

SCHEMA = """
    CREATE TABLE sack (
        number INTEGER PRIMARY KEY, mill TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (mill, number)
    );
    CREATE INDEX sack_rye ON sack (number) WHERE kind = 'rye';
    CREATE TABLE label (name TEXT PRIMARY KEY, sack INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX label_sack ON label (sack);
    CREATE TRIGGER label_of_a_sack BEFORE INSERT ON label
    WHEN NOT EXISTS (SELECT 1 FROM sack WHERE number = NEW.sack)
    BEGIN SELECT RAISE (ABORT, 'there is no such sack'); END;
"""
READS = (
    "SELECT number, mill, kind, body FROM sack ORDER BY number",
    "SELECT number, mill, kind, body FROM sack ORDER BY mill, number",
    "SELECT number, mill, kind, body FROM sack WHERE kind = 'rye' ORDER BY number",
    "SELECT name, sack, body FROM label ORDER BY name",
    "SELECT name, sack, body FROM label ORDER BY sack, name",
)
FLIPS = 200

Rows = list[tuple[object, ...]]


def sealed(*columns: object, size: int = 40) -> tuple[object, ...]:
    """A row whose last column holds a checksum over all of it."""
    content = b"%d " % size * size
    return (*columns, zlib.crc32(repr((columns, content)).encode()).to_bytes(4, "big") + content)


def unsealed(row: sqlite3.Row) -> tuple[object, ...]:
    *columns, body = row
    if not isinstance(body, bytes) or zlib.crc32(repr((tuple(columns), body[4:])).encode()) != int.from_bytes(body[:4]):
        raise DataCorrupted(f"row {columns[0]}", "its checksum is wrong")
    return tuple(row)


def fill(connection: sqlite3.Connection, numbers: range) -> None:
    for number in numbers:
        sack = sealed(number, f"mill {number % 7}", ("rye", "oats")[number % 2], size=9 * number % 2000)
        connection.execute("INSERT INTO sack VALUES (?, ?, ?, ?)", sack)
        connection.execute("INSERT INTO label VALUES (?, ?, ?)", sealed(f"label {number * 31 % 997}", number))


def everything(connection: sqlite3.Connection) -> list[Rows]:
    return [[unsealed(row) for row in connection.execute(read)] for read in READS]


async def written(database: Database, numbers: range) -> None:
    for number in numbers:
        await database.write(partial(fill, numbers=range(number, number + 1)))


async def rows_in(directory: Path) -> list[Rows]:
    async with open_database(directory / "mill.db", [SCHEMA]) as database:
        return await database.read(everything)


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """A directory with a database that was killed: some of it in its file, some in the log beside it."""
    path = tmp_path / "mill" / "mill.db"
    async with open_database(path, [SCHEMA]) as first:
        await written(first, range(150))
    async with open_database(path, [SCHEMA]) as second:
        await second.write(lambda connection: connection.execute("DELETE FROM label WHERE sack < 20").rowcount)
        await written(second, range(150, 200))
        return crashed_copy(path.parent, tmp_path / "crashed")


async def test_a_byte_that_changes_anywhere_is_refused_or_changes_nothing(crashed: Path, tmp_path: Path) -> None:
    expected, fates = await fates_of_flips(crashed, tmp_path, FLIPS, rows_in)

    assert [len(rows) for rows in expected] == [200, 200, 100, 180, 180]
    assert {fate for _, fate in fates} == {"refused", "the same"}
    assert fates["mill.db.head", "refused"] == 0
    assert fates["mill.db", "refused"] + fates["mill.db-wal", "refused"] > FLIPS / 4
