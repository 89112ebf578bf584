"""An execution as a file, on its way to disk and back."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

PIECE = 1024 * 1024
TRANSFER_DEADLINE = 300.0


async def save(pieces: AsyncIterator[bytes], file: Path) -> None:
    """Write the pieces to `file`, which is whole or stays as it was: they are collected beside it first."""
    part = file.with_name(f"{file.name}.part")
    try:
        with await asyncio.to_thread(part.open, "wb") as written:
            async for piece in pieces:
                await asyncio.to_thread(written.write, piece)
        await asyncio.to_thread(part.replace, file)
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)


async def opened(source: Path | bytes) -> BinaryIO:
    """A file, or a value as one, to be closed by the caller."""
    return io.BytesIO(source) if isinstance(source, bytes) else await asyncio.to_thread(source.open, "rb")


async def pieces_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """What it holds, in pieces that a message carries; at least one, which is empty if the file is."""
    piece = await asyncio.to_thread(file.read, PIECE)
    yield piece
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece
