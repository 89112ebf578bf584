import asyncio
import os
import shutil
import signal
import sqlite3
import stat
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import MAX_VARIABLES, Database, open_database
from forgemesh.chassis.write_conflict import WriteConflict
from forgemesh.faults.service import StoreUnavailable
from tests.component.chassis.sacks import FIRST, SACKS, SECOND, busy_writer, fill, numbers, other_process


async def test_a_write_gives_back_its_result_and_can_be_read_at_once(database: Database) -> None:
    assert await database.write(fill(7)) == 7
    assert await database.read(numbers) == [7]


def commits_of(database: Database) -> int:
    return sum(database.commits.series[()].counts)


async def test_writes_that_wait_for_one_another_share_a_transaction(database: Database) -> None:
    async with busy_writer(database):
        waiting = [database.write(fill(number)) for number in range(500)]
    results = await asyncio.gather(*waiting)

    assert results == list(range(500))
    assert (commits_of(database), database.commits.series[()].sum) == (2, 501)


async def test_more_writes_than_a_transaction_takes_are_all_kept_in_order(database: Database) -> None:
    async with busy_writer(database):
        waiting = [database.write(fill(number)) for number in range(4_500)]
    await asyncio.gather(*waiting)

    assert await database.read(numbers) == list(range(4_500))
    assert commits_of(database) == 4


async def test_a_bad_write_fails_alone(database: Database) -> None:
    def stumble(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO sack (number, content) VALUES (99, 'half done')")
        raise ValueError("stumbled")

    async with busy_writer(database):
        waiting = [database.write(work) for work in (fill(1), stumble, fill(2), fill(1), fill(3, None), fill(4))]
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [result for result in results if isinstance(result, int)] == [1, 2, 4]
    assert isinstance(results[1], ValueError)
    assert [type(results[at]) for at in (3, 4)] == [WriteConflict] * 2
    assert await database.read(numbers) == [1, 2, 4]


async def test_rows_of_many_writers_go_into_one_statement_and_keep_their_order(database: Database) -> None:
    async with busy_writer(database):
        waiting = [
            database.write_rows([(SACKS, (2 * number, "a")), (SACKS, (2 * number + 1, "b"))], number)
            for number in range(100)
        ]
    results = await asyncio.gather(*waiting)

    assert results == list(range(100))
    rows = await database.read(lambda connection: connection.execute("SELECT content FROM sack").fetchall())
    assert [row["content"] for row in rows] == ["a", "b"] * 100


async def test_a_row_that_does_not_fit_fails_its_writer_alone(database: Database) -> None:
    async with busy_writer(database):
        good = database.write_rows([(SACKS, (1, "a")), (SACKS, (2, "b"))], "good")
        bad = database.write_rows([(SACKS, (3, "c")), (SACKS, (1, "again"))], "bad")
    results = await asyncio.gather(good, bad, return_exceptions=True)

    assert results[0] == "good"
    assert isinstance(results[1], WriteConflict)
    assert await database.read(numbers) == [1, 2]


async def test_a_guard_that_raises_refuses_what_names_it_and_nothing_else(database: Database) -> None:
    def guard(connection: sqlite3.Connection) -> None:
        raise PermissionError("deposed")

    async with busy_writer(database):
        guarded = [database.write(fill(1), guard=guard), database.write_rows([(SACKS, (2, "b"))], 2, guard=guard)]
        free = database.write(fill(3))
    results = await asyncio.gather(*guarded, free, return_exceptions=True)

    assert [type(result) for result in results] == [PermissionError, PermissionError, int]
    assert await database.read(numbers) == [3]


async def test_a_guard_runs_once_for_all_that_name_it(database: Database) -> None:
    runs: list[sqlite3.Connection] = []

    async with busy_writer(database):
        waiting = [database.write(fill(number), guard=runs.append) for number in range(10)]
    await asyncio.gather(*waiting)

    assert len(runs) == 1


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 1000, 1023, MAX_VARIABLES])
async def test_a_bulk_writes_any_number_of_rows_in_order(database: Database, rows: int) -> None:
    await database.write(lambda connection: SACKS.run(connection, [(number, "x") for number in range(rows)]))

    assert await database.read(numbers) == list(range(rows))


async def test_what_is_looked_up_in_one_moment_is_answered_each_by_itself(database: Database) -> None:
    await database.write(fill(7))

    def stumble(connection: sqlite3.Connection) -> list[int]:
        raise ValueError("stumbled")

    def nowhere(connection: sqlite3.Connection) -> list[int]:
        return [row[0] for row in connection.execute("SELECT number FROM nowhere")]

    given_up = asyncio.ensure_future(database.look(numbers))
    looks = [asyncio.ensure_future(database.look(work)) for work in (numbers, stumble, nowhere, numbers)]
    await asyncio.sleep(0)
    given_up.cancel()
    found = await asyncio.gather(*looks, return_exceptions=True)

    assert (found[0], found[3]) == ([7], [7])
    assert [type(one) for one in found[1:3]] == [ValueError, sqlite3.OperationalError]
    assert given_up.cancelled()


async def test_a_reader_does_not_wait_for_a_writer_and_sees_what_was_committed(database: Database) -> None:
    await database.write(fill(1))
    async with busy_writer(database):
        waiting = database.write(fill(2))
        seen = await database.read(numbers)
    await waiting

    assert seen == [1]


async def test_a_write_whose_waiter_is_gone_is_still_kept(database: Database) -> None:
    async with busy_writer(database):
        database.write(fill(1)).cancel()
        waiting = database.write(fill(2))
    await waiting

    assert await database.read(numbers) == [1, 2]


async def test_what_is_queued_when_the_database_is_closed_is_kept(tmp_path: Path) -> None:
    async with open_database(tmp_path / "mill.db", [FIRST]) as first:
        waiting = [first.write(fill(number)) for number in range(100)]

    assert await asyncio.gather(*waiting) == list(range(100))
    async with open_database(tmp_path / "mill.db", [FIRST]) as second:
        assert await second.read(numbers) == list(range(100))


async def test_a_closed_database_refuses_instead_of_letting_wait(tmp_path: Path) -> None:
    async with open_database(tmp_path / "mill.db", [FIRST]) as database:
        pass

    for refused in (database.write(fill(1)), database.write_rows([], None), database.read(numbers)):
        with pytest.raises(StoreUnavailable, match="this process is stopping and has closed it"):
            await refused


async def test_bad_sql_is_a_bug_and_no_trouble_of_the_store(database: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM nowhere")

    for attempt in (database.write(work), database.read(work)):
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await attempt


async def test_the_file_is_for_its_owner_alone(database: Database) -> None:
    await database.write(fill(1))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in database.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


async def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    async with open_database(tmp_path / "a" / "b" / "mill.db", [FIRST]) as database:
        await database.write(fill(1))

    assert (tmp_path / "a" / "b" / "mill.db").exists()


async def test_a_new_release_brings_an_old_file_up_to_date(tmp_path: Path) -> None:
    async with open_database(tmp_path / "mill.db", [FIRST]) as old:
        await old.write(fill(1))

    async with open_database(tmp_path / "mill.db", [FIRST, SECOND]) as new:
        row = await new.read(lambda connection: connection.execute("SELECT number, weight FROM sack").fetchone())
        (version,) = await new.read(lambda connection: connection.execute("PRAGMA user_version").fetchone())

    assert (tuple(row), version) == ((1, 0), 2)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    async with open_database(tmp_path / "mill.db", [FIRST]) as old:
        await old.write(fill(1))
    half = "ALTER TABLE sack ADD COLUMN colour TEXT; INSERT INTO nowhere VALUES (1)"

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        async with open_database(tmp_path / "mill.db", [FIRST, half]):
            pass

    async with open_database(tmp_path / "mill.db", [FIRST, SECOND]) as new:
        columns = await new.read(lambda connection: connection.execute("SELECT * FROM sack").fetchone().keys())
    assert columns == ["number", "content", "weight"]


async def test_a_file_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with open_database(tmp_path / "mill.db", [FIRST, SECOND]) as new:
        await new.write(fill(1))

    with pytest.raises(StoreUnavailable) as refused:
        async with open_database(tmp_path / "mill.db", [FIRST]):
            pass

    assert "it has schema 2, this release knows 1" in refused.value.message
    assert "use the newer release" in refused.value.message
    async with open_database(tmp_path / "mill.db", [FIRST, SECOND]) as again:
        assert await again.read(numbers) == [1]


async def test_a_second_process_is_refused_and_told_which_one_is_the_first(tmp_path: Path) -> None:
    with other_process(tmp_path / "mill.db", 0) as first:
        assert [first.stdout.readline() for _ in range(2)][1] == "done\n"
        try:
            with pytest.raises(StoreUnavailable) as refused:
                async with open_database(tmp_path / "mill.db", [FIRST]):
                    pass
        finally:
            first.kill()

    assert refused.value.metadata == {
        "path": str(tmp_path / "mill.db"),
        "cause": f"another process (pid {first.pid}) has it open",
        "remedy": f"stop it with: kill {first.pid}, or give this one a path of its own",
    }


async def test_what_was_acknowledged_before_a_kill_is_there_for_the_next_process(tmp_path: Path) -> None:
    with other_process(tmp_path / "mill.db", 10_000) as first:
        first.stdout.readline()
        acknowledged = [int(first.stdout.readline()) for _ in range(200)]
        first.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in first.stdout.read().split() if line.isdecimal()]

    async with open_database(tmp_path / "mill.db", [FIRST]) as second:
        kept = await second.read(numbers)

    assert set(acknowledged) <= set(kept)
    assert len(kept) <= len(acknowledged) + 1


def synced(trace: Path) -> int:
    return sum("sync(" in line and "= 0" in line for line in trace.read_text().splitlines())


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_an_acknowledged_write_has_reached_the_disk_unless_less_was_asked_for(tmp_path: Path, synchronous: str) -> None:
    """A kill proves nothing here, for the page cache survives it: this counts the calls that empty it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    before = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace))
    with other_process(tmp_path / "mill.db", 50, synchronous=synchronous, before=before) as traced:
        pid, *lines = [traced.stdout.readline() for _ in range(52)]
        if not lines[-1]:
            pytest.skip("strace may not trace here")
        os.kill(int(pid), signal.SIGKILL)

    assert (synced(trace) >= 50) == (synchronous == "FULL")


async def test_a_bug_in_the_writer_is_told_to_whoever_waits_and_the_next_write_is_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(*given: object) -> None:
        raise LookupError("planted")

    with monkeypatch.context() as patch:
        patch.setattr("forgemesh.chassis.sqlite.database._commit_batch", planted)
        with pytest.raises(LookupError, match="planted"):
            await database.write(fill(1))

    assert await database.write(fill(2)) == 2


async def test_a_result_that_cannot_be_told_keeps_none_of_the_others_back(database: Database) -> None:
    def stop(connection: sqlite3.Connection) -> None:
        raise StopIteration  # which no future takes

    async with busy_writer(database):
        stopped, sound = database.write(stop), database.write(fill(1))

    assert await sound == 1
    with pytest.raises(RuntimeError, match="what became of a write cannot be told"):
        await stopped
