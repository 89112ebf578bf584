"""Callers take turns before what all of them need, so that a crowd holds nobody back but itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NEWCOMERS = 3
"""As many callers who had nothing waiting go before one who has had a turn already."""

CROWD = 64
"""As many who wait are a crowd."""
PAUSE = 0.005
"""Seconds without an arrival after which a crowd has come."""
ROUNDS = 16
"""As many rounds of the loop must pass as well: a process that got no processor meanwhile has heard of nobody."""


class Turnstile:
    """
    Lets `width` through at a time; who waits is served by caller, in turn, and each caller first come, first served.

    The order is that of fq_codel (RFC 8290, section 4.2) with packets of equal length: a caller who had nothing
    waiting goes before those who have been waiting for more than a turn, so that one call now and then waits for what
    is under way, and not for a round of everybody. Those who wait are served all the same, however many newcomers there
    are. Where there is room nobody waits.

    While a crowd arrives, each newcomer gets one turn and nobody else any, up to `hold` seconds long; then nobody is
    held back as long. gRPC hands over one call in several rounds of the event loop, in the order in which they came,
    whosesoever they are, and rounds in which much is done make all of them wait. A caller whose calls come one by one
    out of that line has nothing waiting here each time, so that only the turns that it has had tell a crowd of many
    connections from newcomers. Once the crowd stands in line here, others pass it.
    """

    def __init__(self, width: int, *, hold: float = 0.0) -> None:
        self._room = width
        self._hold = hold
        self._standing = 0
        self._arrivals = 0
        self._come = True
        self._looking = False
        self._held_since = self._free_until = 0.0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._new: deque[str] = deque()
        self._old: deque[str] = deque()
        self._streak = 0
        self._served: set[str] = set()
        """Who has had a turn since the crowd began to arrive."""

    @asynccontextmanager
    async def passing(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn, and keep it while the block runs."""
        if self._room and not self._waiting:
            self._room -= 1
        else:
            await self._turn(caller)
        try:
            yield
        finally:
            self._room += 1
            self._let_in()

    def waiting(self, caller: str) -> int:
        """How many of this caller wait."""
        return len(self._waiting.get(caller, ()))

    async def _turn(self, caller: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.get(caller)
        if line is None:
            line = self._waiting[caller] = deque()
            (self._old if caller in self._served else self._new).append(caller)
        line.append(turn)
        self._standing += 1
        self._arrivals += 1
        self._come = False
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn came in the same moment: it is somebody else's now
                self._room += 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        held = bool(self._hold) and self._arriving()
        while self._room and (self._new if held else self._waiting):
            turn = self._next(held)
            if turn is not None and not turn.done():
                self._room -= 1
                turn.set_result(None)

    def _arriving(self) -> bool:
        """Whether a crowd is just coming; looks again when it may be over."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._standing < CROWD or self._come or now < self._free_until:
            self._held_since = 0.0
            self._served.clear()
            return False
        self._held_since = self._held_since or now
        if now - self._held_since > self._hold:
            self._free_until = now + self._hold
            return False
        if not self._looking:
            self._looking = True
            loop.call_later(PAUSE, self._look, self._arrivals, ROUNDS)
        return True

    def _look(self, arrivals: int, rounds: int) -> None:
        """Whether there were no more than `arrivals`, now and in so many rounds to come."""
        if rounds and arrivals == self._arrivals:
            asyncio.get_running_loop().call_soon(self._look, arrivals, rounds - 1)
            return
        self._looking = False
        self._come = arrivals == self._arrivals
        self._let_in()

    def _next(self, newcomers_only: bool) -> asyncio.Future[None] | None:
        newcomer = bool(self._new) and (newcomers_only or self._streak < NEWCOMERS or not self._old)
        self._streak = self._streak + 1 if newcomer else 0
        caller = (self._new if newcomer else self._old).popleft()
        if newcomers_only:
            self._served.add(caller)
        line = self._waiting[caller]
        turn = None
        while line and turn is None:
            first = line.popleft()
            self._standing -= 1
            turn = None if first.done() else first  # who gave up meanwhile has no turn
        if line:
            self._old.append(caller)
        else:
            del self._waiting[caller]
        return turn
