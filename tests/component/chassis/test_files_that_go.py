"""The files of an open database are removed, replaced, moved or overwritten: nothing is acknowledged into the void."""

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.faults.service import DataCorrupted, StoreLost
from tests.component.chassis.sacks import FIRST, fill, numbers


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    other = path.with_name("other")
    shutil.copyfile(path, other)
    other.rename(path)


def folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def folder_replaced(path: Path) -> None:
    folder_moved(path)
    shutil.copytree(path.parent.with_name("elsewhere"), path.parent)


ACTS = [
    pytest.param(act, ending, id=f"{act.__name__}{ending}")
    for act in (removed, replaced)
    for ending in ("", "-wal", "-shm", ".head")
]
ACTS += [pytest.param(act, "", id=act.__name__) for act in (folder_removed, folder_moved, folder_replaced)]
VITAL = ("", "-wal")
"""Endings of the files in which commits stand: they are looked at before each answer, the others every second."""
Act = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
@pytest.mark.parametrize(("act", "ending"), ACTS)
async def test_what_is_written_after_a_file_has_gone_is_refused(
    folder: Path, act: Act, ending: str, synchronous: str
) -> None:
    if (synchronous, ending) == ("NORMAL", ".head"):
        pytest.skip("such a database has none")
    path = folder / "mill.db"
    async with open_database(path, [FIRST], synchronous=synchronous) as database:  # type: ignore[arg-type]
        await database.write(fill(1))
        act(folder / f"mill.db{ending}")
        if ending not in VITAL:
            database.file.look()

        with pytest.raises(StoreLost, match=f"mill.db{ending} was (removed|replaced) while it was open") as refused:
            await database.write(fill(2))
        with pytest.raises(StoreLost):
            await database.write(fill(3))

    assert refused.value.metadata["path"] == str(path)
    assert "to be started again" in refused.value.message


@pytest.mark.parametrize("ending", ["-wal", "-shm", ".head"])
@pytest.mark.parametrize("act", [removed, replaced])
async def test_what_was_acknowledged_before_is_there_after_a_restart(folder: Path, act: Act, ending: str) -> None:
    path = folder / "mill.db"
    async with open_database(path, [FIRST]) as database:
        acknowledged = [await database.write(fill(number)) for number in range(20)]
        act(folder / f"mill.db{ending}")
        database.file.look()
        with pytest.raises(StoreLost):
            await database.write(fill(99))

    async with open_database(path, [FIRST]) as again:
        assert await again.read(numbers) == acknowledged


@pytest.mark.parametrize(("act", "ending"), [one for one in ACTS if one.values[1] in VITAL])
async def test_what_is_being_written_while_a_file_goes_is_not_acknowledged(folder: Path, act: Act, ending: str) -> None:
    def work(connection: object) -> None:
        act(folder / f"mill.db{ending}")

    async with open_database(folder / "mill.db", [FIRST]) as database:
        first, second = database.write(work), database.write(fill(2))
        results = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(result) for result in results] == [StoreLost, StoreLost]


async def test_a_file_that_is_put_back_later_lacks_what_came_between_and_stays_lost(folder: Path) -> None:
    path = folder / "mill.db"
    async with open_database(path, [FIRST]) as database:
        path.rename(folder / "aside")
        with pytest.raises(StoreLost):
            await database.write(fill(1))
        (folder / "aside").rename(path)

        with pytest.raises(StoreLost):
            await database.write(fill(2))
        with pytest.raises(StoreLost):
            await database.read(numbers)


async def test_a_copy_that_takes_the_place_is_neither_changed_nor_robbed_of_its_files(folder: Path) -> None:
    path = folder / "mill.db"
    async with open_database(path, [FIRST]) as database:
        await database.write(fill(1))
        folder_replaced(path)
        copies = {file.name: file.read_bytes() for file in folder.iterdir()}
        with pytest.raises(StoreLost):
            await database.write(fill(2))
        with pytest.raises(StoreLost):
            await database.read(numbers)

    assert {file.name: file.read_bytes() for file in folder.iterdir()} == copies


class Told:
    """What the process says of itself."""

    def __init__(self) -> None:
        self.hindrances: list[tuple[str, str]] = []

    async def hinder(self, source: str, reason: str) -> None:
        self.hindrances.append((source, reason))


async def one_look(database: Database, told: Told) -> None:
    """What `look_after` does until it waits for the first time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await database.look_after(told.hinder)


async def test_a_process_that_writes_nothing_finds_out_says_so_and_ends(folder: Path) -> None:
    told = Told()
    async with open_database(folder / "mill.db", [FIRST]) as database:
        shutil.rmtree(folder)

        with pytest.raises(StoreLost, match="was removed while it was open"):
            await database.look_after(told.hinder)

    [(source, reason)] = told.hindrances
    assert source == "database"
    assert "to be started again" in reason


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"somebody else's file" * 1000])
async def test_a_file_that_is_overwritten_in_its_place_is_as_good_as_gone(folder: Path, content: bytes) -> None:
    told = Told()
    async with open_database(folder / "mill.db", [FIRST]) as database:
        await database.write(fill(1))
        with (folder / "mill.db").open("r+b") as file:
            file.truncate(0)
            file.write(content)

        with pytest.raises(StoreLost, match="cut short or overwritten"):
            await database.look_after(told.hinder)
        with pytest.raises(StoreLost):
            await database.write(fill(2))


async def test_a_file_that_nobody_has_touched_is_in_its_place(database: Database) -> None:
    told = Told()
    for number in range(60):  # more than is kept in the log of the newest commits
        await database.write(fill(number, "x" * 100_000))
        assert database.file.look() == ""

    await one_look(database, told)

    assert (database.file.look(), told.hindrances) == ("", [])


async def test_damage_that_is_met_in_use_is_told_and_ends_nothing(folder: Path) -> None:
    path, told = folder / "mill.db", Told()
    async with open_database(path, [FIRST]) as database:
        for number in range(40):
            await database.write(fill(number, "x" * 3_000))
    async with open_database(path, [FIRST], verify_limit=0) as database:
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * 60_000)
        with pytest.raises(DataCorrupted) as refused:
            await database.read(
                lambda connection: connection.execute("SELECT sum(length(content)) FROM sack").fetchone()
            )

        await one_look(database, told)

    assert told.hindrances == [("database", refused.value.message)]


async def test_damage_of_a_large_file_that_is_found_beside_its_use_is_told(folder: Path) -> None:
    path, found = folder / "mill.db", asyncio.Event()
    async with open_database(path, [FIRST]) as database:
        for number in range(40):
            await database.write(fill(number, "x" * 3_000))
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 60_000)
    told = Told()
    async with open_database(path, [FIRST], verify_limit=1, on_damage=lambda damage: found.set()) as database:
        async with asyncio.timeout(60):
            await found.wait()
        await one_look(database, told)

    assert [source for source, _ in told.hindrances] == ["database"]
    assert "is damaged" in told.hindrances[0][1]


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_nobody_else_can_read_a_database_or_what_belongs_to_it(folder: Path, umask: int) -> None:
    async with open_database(folder / "mill.db", [FIRST]) as database:
        await database.write(fill(1))
        found = modes(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert found == dict.fromkeys(("mill.db", "mill.db-wal", "mill.db-shm", "mill.db.head"), 0o600)


async def test_files_from_before_are_closed_to_others_too(tmp_path: Path) -> None:
    async with open_database(tmp_path / "mill.db", [FIRST]) as database:
        await database.write(fill(1))
    (tmp_path / "mill.db").chmod(0o664)
    (tmp_path / "mill.db.head").write_bytes(b"")
    (tmp_path / "mill.db.head").chmod(0o644)
    async with open_database(tmp_path / "mill.db", [FIRST]) as database:
        await database.read(numbers)
        found = modes(tmp_path)

    assert set(found.values()) == {0o600}
