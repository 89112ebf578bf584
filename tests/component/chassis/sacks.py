"""A database of sacks, and others who use it at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from forgemesh.chassis.sqlite.database import Bulk, Database

FIRST = "CREATE TABLE sack (number INTEGER PRIMARY KEY, content TEXT NOT NULL) STRICT"
SECOND = "ALTER TABLE sack ADD COLUMN weight INTEGER NOT NULL DEFAULT 0"
SACKS = Bulk("INSERT INTO sack (number, content) VALUES", "(?, ?)")


def fill(number: int, content: Any = "grain") -> Any:
    """Work that writes one sack and returns its number."""

    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO sack (number, content) VALUES (?, ?)", (number, content))
        return number

    return work


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [row["number"] for row in connection.execute("SELECT number FROM sack ORDER BY number")]


@contextlib.asynccontextmanager
async def busy_writer(database: Database) -> AsyncIterator[asyncio.Future[None]]:
    """Holds the writer thread inside a transaction while the block queues more."""
    inside, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        inside.set()
        assert go_on.wait(10)

    held = database.write(work)
    assert await asyncio.to_thread(inside.wait, 10)
    try:
        yield held
    finally:
        go_on.set()


OTHER_PROCESS = """
import asyncio, os, pathlib, sys
from forgemesh.chassis.sqlite.database import open_database

async def main():
    async with open_database(pathlib.Path(sys.argv[1]), [sys.argv[2]], synchronous=sys.argv[4]) as database:
        print(os.getpid(), flush=True)
        for number in range(int(sys.argv[3])):
            def work(connection):
                connection.execute("INSERT INTO sack (number, content) VALUES (?, 'x')", (number,))
            await database.write(work)
            print(number, flush=True)
        print("done", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def other_process(path: Path, writes: int, *, synchronous: str = "FULL", before: tuple[str, ...] = ()) -> Any:
    command = [*before, sys.executable, "-c", OTHER_PROCESS, str(path), FIRST, str(writes), synchronous]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
