"""The time of a simulated mesh: it goes on over the orchestrator's lives, and what happens outside of them is in it."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from concurrent.futures import Executor
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar, TypeVarTuple

from forgemesh.orchestrator.simulation.virtual_loop import VirtualLoop
from forgemesh.orchestrator.values.retry import SECOND

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Died(SystemExit):
    """The orchestrator's process is gone; event loops let nothing but this kind of exception out of a callback."""


class RunLoop(VirtualLoop):
    """The loop of one life of the orchestrator, from a moment on; what others do in threads happens at once."""

    def __init__(self, began: int) -> None:
        super().__init__()
        self._nanoseconds = began

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], T], *args: *Arguments
    ) -> Future[T]:
        done: Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - belongs to whoever waits for it
            done.set_exception(error)
        return done


class Calendar:
    """What is to happen outside of the orchestrator, whether that lives or not; `now` is nanoseconds."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._loop: RunLoop | None = None
        self._now = 0

    @property
    def now(self) -> int:
        return self._loop.nanoseconds if self._loop is not None else self._now

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Have `do` called in so many seconds."""
        at = self.now + int(seconds * SECOND)
        heappush(self._entries, (at, next(self._numbers), do))
        if self._loop is not None:
            self._loop.call_at(at / SECOND, self._ring, self._loop)

    def enter(self, loop: RunLoop) -> None:
        """A life begins."""
        self._loop = loop
        for at, _, _ in sorted(self._entries):
            loop.call_at(at / SECOND, self._ring, loop)

    def leave(self) -> None:
        """A life has ended."""
        if self._loop is not None:
            self._now, self._loop = self._loop.nanoseconds, None

    def pass_time(self, seconds: float) -> None:
        """Nobody lives for so long."""
        until = self._now + int(seconds * SECOND)
        while self._entries and self._entries[0][0] <= until:
            at, _, do = heappop(self._entries)
            self._now = max(self._now, at)
            do()
        self._now = until

    def _ring(self, loop: RunLoop) -> None:
        while loop is self._loop and self._entries and self._entries[0][0] <= loop.nanoseconds + 1_000:
            heappop(self._entries)[2]()
