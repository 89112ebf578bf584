"""The database of spans, which is begun anew if it is damaged: traces tell of the work, and nothing depends on them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from forgemesh.chassis.sqlite.database import VERIFY_LIMIT, Database, open_database
from forgemesh.faults.service import DataCorrupted
from forgemesh.traces.adapters.sqlite import MIGRATIONS

_log = logging.getLogger(__name__)

_BESIDE = ("", "-wal", "-shm", "-journal")


@contextlib.asynccontextmanager
async def open_span_database(path: Path, *, verify_limit: int = VERIFY_LIMIT) -> AsyncIterator[Database]:
    """
    The database, of which the newest spans may be lost with the machine's power; `verify_limit` as in open_database.

    One that turns out to be damaged is moved to `<name>.damaged`, in place of an earlier one, and an empty one is made:
    at once if it is seen before its use, else by who opens it after this use of it.
    Raises StoreUnavailable, and StoreTooNew for the file of a newer release, which is left as it is.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(_open(path, verify_limit))
        except DataCorrupted as damage:
            await _set_aside(path, damage)
            database = await stack.enter_async_context(_open(path, verify_limit))
        try:
            yield database
        finally:
            if database.damage is not None:
                await _set_aside(path, database.damage)


def _open(path: Path, verify_limit: int) -> contextlib.AbstractAsyncContextManager[Database]:
    return open_database(path, MIGRATIONS, synchronous="NORMAL", verify_limit=verify_limit)


async def _set_aside(path: Path, damage: DataCorrupted) -> None:
    aside = await asyncio.to_thread(_rename, path)
    _log.warning(
        "%s; the traces that were in it are not shown any more: it is kept as %s, and an empty one is used",
        damage.message,
        aside,
    )


def _rename(path: Path) -> Path:
    """Give the file, and what belongs to it, another name, also while it is open here."""
    aside = path.with_name(f"{path.name}.damaged")
    for ending in _BESIDE:
        kept = aside.with_name(aside.name + ending)
        kept.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(kept)
    return aside
