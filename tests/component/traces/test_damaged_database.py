"""Traces are not the truth: what is damaged of them is set aside, and the store serves."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forgemesh.api.traces.v1 import trace_service_pb2 as pb
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.faults.service import DataCorrupted, StoreTooNew, StoreUnavailable
from forgemesh.traces.adapters.span_database import open_span_database
from forgemesh.traces.adapters.sqlite import SqliteSpanStore
from forgemesh.traces.main import serving_traces
from forgemesh.traces.settings import TracesSettings
from tests.component.traces.conftest import PATIENCE


async def shown(database: Path) -> int:
    """How many traces a store shows that starts over this file."""
    settings = TracesSettings(listen="127.0.0.1:0", health_listen="127.0.0.1:0", database=database)
    async with serving_traces(settings) as server, connect(server.address) as channel:
        answer = await TraceServiceStub(channel).ListTraces(pb.ListTracesRequest(), timeout=PATIENCE)
    return len(answer.traces)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    path = tmp_path / "traces.db"
    await shown(path)
    return path


def no_database(path: Path) -> None:
    path.write_bytes(b"no database at all " * 400)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwritten(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX trace_by_start")
        connection.commit()


@pytest.mark.parametrize("damage", [no_database, cut_off, overwritten, other_tables])
async def test_a_damaged_database_is_set_aside_with_a_warning(
    database: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    damage(database)
    damaged = database.read_bytes()

    assert await shown(database) == 0
    assert database.with_name("traces.db.damaged").read_bytes() == damaged
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert any("traces.db is damaged" in text and "traces.db.damaged" in text for text in said)


async def test_one_damaged_database_is_kept_and_not_all_that_there_ever_were(database: Path) -> None:
    for number in range(3):
        database.write_bytes(f"damaged {number}".encode() * 1000)
        await shown(database)

    names = {file.name for file in await asyncio.to_thread(lambda: list(database.parent.iterdir()))}
    assert {name for name in names if "damaged" in name} == {"traces.db.damaged"}
    assert database.with_name("traces.db.damaged").read_bytes().startswith(b"damaged 2")


async def test_what_a_newer_release_has_written_is_refused_and_left_alone(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("UPDATE commit_head SET shape = 0")
        connection.commit()

    with pytest.raises(StoreTooNew):
        await shown(database)

    assert not database.with_name("traces.db.damaged").exists()


async def test_a_folder_in_its_place_is_refused_by_name(database: Path) -> None:
    database.unlink()
    database.mkdir()

    with pytest.raises(StoreUnavailable, match=r"traces\.db cannot be used"):
        await shown(database)


async def test_a_database_that_another_process_has_open_is_left_alone(database: Path) -> None:
    settings = TracesSettings(listen="127.0.0.1:0", health_listen="127.0.0.1:0", database=database)
    async with serving_traces(settings) as server:
        with pytest.raises(StoreUnavailable):
            await shown(database)

        async with connect(server.address) as channel:
            stub = TraceServiceStub(channel)
            assert isinstance(await stub.ListTraces(pb.ListTracesRequest(), timeout=PATIENCE), pb.ListTracesResponse)


def unreadable_traces(path: Path) -> None:
    """The page of one table: nothing that is read on opening."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'trace'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


async def test_one_found_damaged_in_use_ends_the_use_and_is_set_aside_for_the_next(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    async def hinder(source: str, reason: str) -> None:
        told.append(f"{source}: {reason}")

    unreadable_traces(database)
    async with asyncio.timeout(PATIENCE), open_span_database(database, verify_limit=0) as opened:
        with pytest.raises(DataCorrupted):
            await SqliteSpanStore(opened).count()
        with pytest.raises(DataCorrupted):
            await opened.look_after(hinder, replaceable=True)

    assert told == [f"database: {opened.damage.message}" if opened.damage else ""]
    assert database.with_name("traces.db.damaged").stat().st_size > 4096
    assert any("traces.db.damaged" in one.getMessage() for one in caplog.records)
    assert await shown(database) == 0
