"""
The pipe to the test: JSON objects, one a line, in each direction; the only key says what it is.

To this process: `register` (`source`), `run` (`workflow`, `input`, `signals`, `cancel_after`, `limit`, `seed`) and
`answer` (`number`, `takes`, and one of `output`, `failure`, `dies`, `silent`). From it, in answer to the first two:
`registered` or `ended`, `stuck`, or `refused`; and `call` for every attempt that reaches a plugin. Times are seconds
of virtual time, payloads JSON values.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec

LIMIT = 64 * 1024 * 1024


class Pipe:
    """Never blocks: both sides may be telling something large at the same time."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.WriteTransport) -> None:
        self._reader = reader
        self._transport = transport

    @classmethod
    async def open(cls) -> Pipe:
        """Over this process's stdin and stdout, where nothing else may be said."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(LIMIT)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
        return cls(reader, transport)

    async def hear(self) -> tuple[str, dict[str, Any]] | None:
        """The next thing said to this process: what it is, and the rest; None once nobody is there any more."""
        text = await self._reader.readline()
        if not text.endswith(b"\n"):
            return None
        ((kind, content),) = msgspec.json.decode(text).items()
        return kind, content

    def say(self, kind: str, content: object) -> None:
        """Tell the other side."""
        self._transport.write(msgspec.json.encode({kind: content}) + b"\n")
