"""The stream of one host that has called back: what it says goes to a listener, what it is told waits in a queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeAlias

from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from forgemesh.plugin_host.scope import task_scope

WRITE_DEADLINE = 10.0

Write: TypeAlias = Callable[[pb.AttachResponse], Awaitable[None]]


class Listener(Protocol):
    """Whoever looks after the host."""

    def heard(self, request: pb.AttachRequest) -> None:
        """The host says something."""

    def detached(self, attachment: Attachment) -> None:
        """The stream is over."""


class Attachment:
    """One stream, from the welcome to its end."""

    def __init__(self, listener: Listener, protocol: int) -> None:
        self._listener = listener
        self._outgoing: asyncio.Queue[pb.AttachResponse | None] = asyncio.Queue()
        self.say(pb.AttachResponse(welcome=pb.AttachWelcome(protocol=protocol)))

    def say(self, response: pb.AttachResponse) -> None:
        """Tell the host."""
        self._outgoing.put_nowait(response)

    def close(self) -> None:
        """End the stream once everything is said."""
        self._outgoing.put_nowait(None)

    async def run(self, requests: AsyncIterator[pb.AttachRequest], write: Write) -> None:
        """Until either side ends the stream."""
        try:
            async with task_scope() as tasks:
                reading = tasks.create_task(self._read(requests))
                while (response := await self._outgoing.get()) is not None:
                    async with asyncio.timeout(WRITE_DEADLINE):
                        await write(response)
                reading.cancel()
        finally:
            self._listener.detached(self)

    async def _read(self, requests: AsyncIterator[pb.AttachRequest]) -> None:
        async for request in requests:
            self._listener.heard(request)
        self.close()
