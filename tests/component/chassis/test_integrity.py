import asyncio
import contextlib
import logging
import shutil
import sqlite3
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import open_database
from forgemesh.faults.service import DataCorrupted
from tests.component.chassis.sacks import FIRST, SACKS, SECOND, numbers

INDEXED = f"{FIRST}; CREATE INDEX sack_content ON sack (content);"
PAGE = 4096


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "mill.db"
    async with open_database(path, [INDEXED]) as database:
        await database.write(lambda connection: SACKS.run(connection, [(n, "x" * 500) for n in range(1000)]))
    return path


def by_hand(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        for statement in statements:
            connection.execute(statement)


def overwrite_pages(path: Path, first: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(b"\xff" * count * PAGE)


async def test_an_index_that_lacks_a_row_is_found_before_anything_is_used(path: Path) -> None:
    entry = "'index', 'sack_content', 'sack', {}, 'CREATE INDEX sack_content ON sack (content)'"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sack_content'").fetchone()
    by_hand(path, "DELETE FROM sqlite_schema WHERE name = 'sack_content'")
    by_hand(path, "INSERT INTO sack VALUES (1000, 'not in the index')")
    by_hand(path, f"INSERT INTO sqlite_schema VALUES ({entry.format(root)})")

    with pytest.raises(DataCorrupted, match="row 1001 missing from index sack_content"):
        async with open_database(path, [INDEXED]):
            pass


async def test_pages_that_were_overwritten_are_found_before_anything_is_used(path: Path) -> None:
    overwrite_pages(path, 3, 20)
    damaged = path.read_bytes()

    with pytest.raises(DataCorrupted) as refused:
        async with open_database(path, [INDEXED]):
            pass

    assert refused.value.metadata["record"] == str(path)
    assert refused.value.message.endswith('restore a backup: see "Damaged data" in docs/operations.md')
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("verify_limit", [0, 1 << 30])
async def test_damage_that_sqlite_quotes_when_it_reports_it_is_damage(path: Path, verify_limit: int) -> None:
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE sack", b"CREATE \xc8ABLE sack"))

    with pytest.raises(DataCorrupted):
        async with open_database(path, [INDEXED], verify_limit=verify_limit):
            pass


async def test_a_file_that_is_no_database_is_damaged_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mill.db"
    path.write_bytes(b"this is a letter, not a database\n" * 1000)

    with pytest.raises(DataCorrupted, match="file is not a database; restore a backup"):
        async with open_database(path, [FIRST]):
            pass

    assert path.read_bytes().startswith(b"this is a letter")


async def test_a_large_file_is_checked_beside_its_use(path: Path) -> None:
    overwrite_pages(path, 40, 20)
    told: asyncio.Queue[DataCorrupted] = asyncio.Queue()

    async with open_database(path, [INDEXED], verify_limit=PAGE, on_damage=told.put_nowait):
        damage = await asyncio.wait_for(told.get(), 60)

    assert damage.metadata["record"] == str(path)


async def test_damage_of_a_large_file_is_in_the_log_if_nobody_else_wants_to_know(path: Path) -> None:
    overwrite_pages(path, 40, 20)
    log = Log()
    logger = logging.getLogger("forgemesh.chassis.sqlite.database")
    logger.addHandler(log)
    try:
        async with open_database(path, [INDEXED], verify_limit=PAGE):
            line = await asyncio.wait_for(log.lines.get(), 60)
    finally:
        logger.removeHandler(log)

    assert '"Damaged data" in docs/operations.md' in line


async def test_a_large_file_that_is_sound_is_in_use_at_once_and_nobody_is_told(path: Path) -> None:
    told: list[DataCorrupted] = []

    async with open_database(path, [INDEXED], verify_limit=PAGE, on_damage=told.append) as database:
        assert await database.read(numbers) == list(range(1000))

    assert told == []


async def test_damage_in_an_unchecked_file_is_reported_when_it_is_read(path: Path) -> None:
    overwrite_pages(path, 3, 20)

    async with open_database(path, [INDEXED], verify_limit=0) as damaged:
        with pytest.raises(DataCorrupted):
            await damaged.read(
                lambda connection: connection.execute("SELECT sum(length(content)) FROM sack").fetchall()
            )


@pytest.mark.parametrize("version", [0, 2])
async def test_a_schema_version_that_its_tables_do_not_fit_is_damage(path: Path, version: int) -> None:
    by_hand(path, f"PRAGMA user_version={version}")

    with pytest.raises(DataCorrupted, match="its tables are not the ones that were made in it"):
        async with open_database(path, [INDEXED]):
            pass


async def test_a_database_of_a_release_that_did_not_count_commits_is_taken_on(path: Path) -> None:
    by_hand(path, "DROP TABLE commit_head")

    async with open_database(path, [INDEXED, SECOND]) as database:
        assert await database.read(numbers) == list(range(1000))


async def test_a_transaction_that_sqlite_has_to_roll_back_first_is_no_damage(path: Path, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (
            "PRAGMA journal_mode=DELETE",
            "PRAGMA cache_size=1",
            "BEGIN",
            "UPDATE sack SET content = 'y'",
        ):
            connection.execute(statement)
        for name in ("mill.db", "mill.db-journal"):
            shutil.copy(tmp_path / name, tmp_path / "killed" / name)

    async with open_database(tmp_path / "killed" / "mill.db", [INDEXED]) as database:
        (changed,) = await database.read(
            lambda connection: connection.execute("SELECT count(*) FROM sack WHERE content = 'y'").fetchone()
        )
    assert changed == 0
