"""Requests with an id that are being decided at this moment."""

from __future__ import annotations

import asyncio
from asyncio import Event, Future
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Hold:
    """The only request of its id, until it is let go."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written: Future[Any] | None = None

    def until(self, written: Future[Any]) -> None:
        """What it did is on its way to the store: hold on until that is settled, also if the caller goes away."""
        self.written = written


class RequestsUnderWay:
    """
    Of two requests with one id the second waits until the first is decided, so that it finds its answer on record.

    One without an id waits for nobody.
    """

    def __init__(self) -> None:
        self._decided: dict[tuple[str, str], Event] = {}

    @asynccontextmanager
    async def alone(self, namespace: str, request_id: str) -> AsyncIterator[Hold]:
        """Nobody else decides a request of this id meanwhile."""
        hold, name = Hold(), (namespace, request_id)
        if not request_id:
            yield hold
            return
        while name in self._decided:
            await self._decided[name].wait()
        decided = self._decided[name] = asyncio.Event()

        def let_go(written: Future[Any] | None = None) -> None:
            del self._decided[name]
            decided.set()

        try:
            yield hold
        finally:
            if hold.written is None or hold.written.done():
                let_go()
            else:
                hold.written.add_done_callback(let_go)
