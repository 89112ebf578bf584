from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.commit_head import head_path, noted
from forgemesh.chassis.sqlite.database import open_database
from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import DataCorrupted, StoreUnavailable
from tests.component.byteflips import crashed_copy
from tests.component.chassis.sacks import FIRST, SECOND, fill, numbers


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """A database whose process was killed: sacks 0 to 9 are in its file, 10 to 19 in the log beside it."""
    path = tmp_path / "running" / "mill.db"
    for start in (0, 10):
        async with open_database(path, [FIRST]) as database:
            for number in range(start, start + 10):
                await database.write(fill(number))
            copy = crashed_copy(path.parent, tmp_path / f"killed after {start + 10}")
    return copy / "mill.db"


def log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


async def kept(path: Path) -> list[int]:
    async with open_database(path, [FIRST]) as database:
        return await database.read(numbers)


async def test_a_kill_leaves_a_note_of_the_last_commit_and_the_next_process_goes_on(crashed: Path) -> None:
    assert noted(crashed) == 21  # the migration was the first
    assert await kept(crashed) == list(range(20))


async def test_a_log_that_is_gone_is_missed(crashed: Path) -> None:
    log(crashed).unlink()

    with pytest.raises(DataCorrupted) as refused:
        await kept(crashed)

    assert refused.value.metadata == {
        "record": str(crashed),
        "cause": "its newest commit is number 11, and number 21 was acknowledged",
        "remedy": f"restore a backup, or remove {head_path(crashed)} to go on without what is missing",
    }


async def test_who_accepts_the_loss_removes_the_note_and_goes_on(crashed: Path) -> None:
    log(crashed).unlink()
    head_path(crashed).unlink()

    assert await kept(crashed) == list(range(10))


async def test_a_log_with_a_damaged_end_is_refused_and_left_as_it_is(crashed: Path) -> None:
    damaged = bytearray(log(crashed).read_bytes())
    damaged[-2000] ^= 1
    log(crashed).write_bytes(damaged)

    with pytest.raises(DataCorrupted, match="its newest commit is number 20, and number 21 was acknowledged"):
        await kept(crashed)

    assert log(crashed).read_bytes() == damaged


async def test_an_older_file_in_its_place_is_noticed(crashed: Path, tmp_path: Path) -> None:
    older = tmp_path / "killed after 10"
    for name in ("mill.db", "mill.db-wal"):
        (older / name).replace(crashed.with_name(name))

    with pytest.raises(DataCorrupted, match="its newest commit is number 11, and number 21 was acknowledged"):
        await kept(crashed)


@pytest.mark.parametrize("content", [b"", b"FMH1", b"x" * 16, None])
async def test_a_note_that_is_missing_or_damaged_says_nothing_and_is_written_anew(
    crashed: Path, tmp_path: Path, content: bytes | None
) -> None:
    if content is None:
        head_path(crashed).unlink()
    else:
        head_path(crashed).write_bytes(content)

    async with open_database(crashed, [FIRST]) as database:
        await database.write(fill(20))
        again = crashed_copy(crashed.parent, tmp_path / "again") / "mill.db"

    assert noted(again) == 22
    assert await kept(again) == list(range(21))


async def test_a_note_that_the_loss_of_power_left_behind_is_no_reason_to_refuse(crashed: Path, tmp_path: Path) -> None:
    head_path(tmp_path / "killed after 10" / "mill.db").replace(head_path(crashed))

    assert await kept(crashed) == list(range(20))


async def test_a_transaction_that_is_refused_is_not_counted(crashed: Path) -> None:
    async with open_database(crashed, [FIRST]) as database:
        with pytest.raises(WriteConflict):
            await database.write(fill(5))

        assert noted(crashed) == 21


async def test_a_migration_is_a_commit(crashed: Path) -> None:
    async with open_database(crashed, [FIRST, SECOND]):
        assert noted(crashed) == 22


async def test_a_database_that_was_closed_in_order_has_no_note_and_may_be_replaced(
    crashed: Path, tmp_path: Path
) -> None:
    async with open_database(crashed, [FIRST]) as database:
        target = str(tmp_path / "backup.db")
        await database.write(fill(20))
        await database.read(lambda connection: connection.execute("VACUUM INTO ?", (target,)).fetchall())
        await database.write(fill(21))

    assert {path.name for path in crashed.parent.iterdir()} == {"mill.db"}
    (tmp_path / "backup.db").replace(crashed)
    assert await kept(crashed) == list(range(21))


async def test_commits_that_are_not_synced_are_not_counted_for_power_may_take_them(tmp_path: Path) -> None:
    path = tmp_path / "running" / "mill.db"
    async with open_database(path, [FIRST], synchronous="NORMAL") as database:
        await database.write(fill(1))
        copy = crashed_copy(path.parent, tmp_path / "killed") / "mill.db"
    log(copy).unlink()

    assert not head_path(copy).exists()
    assert await kept(copy) == []


async def test_a_note_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    head_path(tmp_path / "mill.db").mkdir()

    with pytest.raises(StoreUnavailable, match=r"mill\.db\.head cannot be used"):
        await kept(tmp_path / "mill.db")
