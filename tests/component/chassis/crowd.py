"""Many connections that say what HTTP/2 begins with, and nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
TOGETHER = 50


class Idler(asyncio.Protocol):
    """One connection; `open` until the other end closes it."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.open = True

    def data_received(self, data: bytes) -> None:
        self.answered.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self.answered.set()


@contextlib.asynccontextmanager
async def idle_connections(address: str, number: int) -> AsyncIterator[list[Idler]]:
    """`number` of them, as far as the server takes them; closed when the block ends."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    held: list[tuple[asyncio.Transport, Idler]] = []

    async def one() -> None:
        with contextlib.suppress(ConnectionError):
            transport, idler = await loop.create_connection(Idler, host, int(port))
            held.append((transport, idler))
            transport.write(PREFACE)
            await idler.answered.wait()

    try:
        for begun in range(0, number, TOGETHER):
            await asyncio.gather(*(one() for _ in range(min(TOGETHER, number - begun))))
        yield [idler for _, idler in held]
    finally:
        for transport, _ in held:
            transport.abort()


def still_open(idlers: list[Idler]) -> int:
    """How many the server has not closed."""
    return sum(idler.open for idler in idlers)


@contextlib.contextmanager
def descriptors(number: int) -> Iterator[None]:
    """This process may have only so many files open while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
