import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.faults.service import DataCorrupted, StoreUnavailable
from tests.component.byteflips import crashed_copy
from tests.component.chassis.sacks import FIRST, busy_writer, fill, numbers

HOLD_A_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def pragma(name: str, value: int) -> Any:
    return lambda connection: connection.execute(f"PRAGMA {name}={value}").fetchone()


async def room_for(pages: int, database: Database) -> None:
    """From now on the file may grow by so many pages; SQLite then says what it says on a full disk."""
    (now,) = await database.read(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await database.write(pragma("max_page_count", now + pages))


@contextlib.contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD_A_LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield


async def test_a_full_disk_refuses_what_does_not_fit_and_nothing_else(database: Database) -> None:
    await database.write(fill(1))
    await room_for(2, database)
    async with busy_writer(database):
        large = [database.write(fill(number, "x" * 100_000)) for number in (2, 3)]
        small = database.write(fill(4))
    results = await asyncio.gather(*large, small, return_exceptions=True)

    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable, int]
    assert isinstance(results[0], StoreUnavailable)
    assert results[0].metadata["cause"] == "database or disk is full"
    assert "free space" in results[0].message
    assert await database.read(numbers) == [1, 4]


async def test_writes_go_on_without_a_restart_once_a_full_disk_has_room_and_none_is_lost(
    database: Database, tmp_path: Path
) -> None:
    acknowledged: list[int] = []

    async def write_until_refused(numbers: range) -> None:
        for number in numbers:
            try:
                acknowledged.append(await database.write(fill(number, "x" * 3_000)))
            except StoreUnavailable:
                return

    await room_for(20, database)
    await asyncio.gather(*(write_until_refused(range(start, start + 1_000)) for start in range(0, 8_000, 1_000)))
    full = len(acknowledged)
    seen = await database.read(numbers)
    await room_for(50, database)
    await write_until_refused(range(8_000, 8_010))

    assert 0 < full < 8 * 1_000
    assert seen == sorted(acknowledged[:full])
    assert len(acknowledged) == full + 10
    killed = crashed_copy(database.path.parent, tmp_path / "killed")
    async with open_database(killed / "mill.db", [FIRST]) as next_one:
        assert await next_one.read(numbers) == sorted(acknowledged)


async def test_all_that_waits_for_a_lock_of_another_process_is_refused_together_and_goes_on_after_it(
    database: Database,
) -> None:
    await database.write(pragma("busy_timeout", 300))
    with locked_by_another_process(database.path):
        waiting = [database.write(fill(number)) for number in range(100)]
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        seen = await database.read(numbers)

    assert {type(refusal) for refusal in refused} == {StoreUnavailable}
    assert "database is locked" in str(refused[0])
    assert "end what holds a lock on it" in str(refused[0])
    assert seen == []
    assert await database.write(fill(1)) == 1


async def test_text_that_cannot_be_decoded_is_damage(database: Database) -> None:
    def spoil(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO sack VALUES (1, CAST(x'ff41' AS TEXT))")

    await database.write(spoil)

    with pytest.raises(DataCorrupted, match="Could not decode to UTF-8"):
        await database.read(lambda connection: connection.execute("SELECT content FROM sack").fetchall())


@pytest.mark.parametrize("place", ["file/mill.db", "folder"])
async def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()

    with pytest.raises(StoreUnavailable) as refused:
        async with open_database(tmp_path / place, [FIRST]):
            pass

    assert refused.value.metadata["path"] == str(tmp_path / place)
    assert "let this user write there" in refused.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(StoreUnavailable, match="Permission denied"):
        async with open_database(tmp_path / "mill.db", [FIRST]):
            pass
