"""An event loop whose time passes only when there is nothing left to do, and then at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
from asyncio import Future, TimerHandle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

LEAST = 1e-6
"""Seconds between a timer's making and its ring: moments that floats can tell apart for a century."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    Instead of waiting for the next timer it jumps there, unless somebody outside still works for it.

    Whoever does is told by `hold` and `release`, or by `attend` of the future that ends with it; calls of executors
    are attended by themselves. Before each jump those are asked who want to be (`asking`).
    """

    def __init__(self) -> None:
        self._nanoseconds = 0
        self._holds = 0
        self._asked: list[Callable[[float | None], bool]] = []
        super().__init__(_SkippingSelector(selectors.DefaultSelector(), self))
        self._clock_resolution = LEAST / 2  # far from zero a nanosecond more is the same float, and no timer would ring

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._nanoseconds / 1e9

    @property
    def nanoseconds(self) -> int:
        """The same, exactly."""
        return self._nanoseconds

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> TimerHandle:
        """No timer is due in the moment that makes it: one that a rounded number made early is set again, later."""
        return super().call_at(max(when, self.time() + LEAST), callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], T], *args: *Arguments
    ) -> Future[T]:
        """Time stands still until the executor has answered."""
        return self.attend(super().run_in_executor(executor, func, *args))

    def hold(self) -> None:
        """Time stands still until it is released as often."""
        self._holds += 1

    def release(self) -> None:
        """See `hold`."""
        self._holds -= 1

    def attend(self, future: Future[T]) -> Future[T]:
        """Time stands still until the future is done."""
        self.hold()
        future.add_done_callback(lambda _: self.release())
        return future

    @property
    def held(self) -> bool:
        """Whether time stands still."""
        return self._holds > 0

    @contextlib.contextmanager
    def asking(self, at_rest: Callable[[float | None], bool]) -> Iterator[None]:
        """
        Inside, `at_rest` is asked before each jump, with the seconds until the next timer (None: there is none). If it
        says False, there is something to do again and time does not pass.
        """
        self._asked.append(at_rest)
        try:
            yield
        finally:
            self._asked.remove(at_rest)

    def jump(self, seconds: float | None) -> None:
        """Everything rests: let so much time pass, unless somebody finds something to do first."""
        if all(at_rest(seconds) for at_rest in self._asked) and seconds is not None:
            self._nanoseconds += math.ceil(seconds * 1e9)


class _SkippingSelector(selectors.BaseSelector):
    """Waits for files only while time is held."""

    def __init__(self, files: selectors.BaseSelector, loop: VirtualLoop) -> None:
        self._files = files
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        idle = timeout is None or timeout > 0
        found = self._files.select(None if idle and self._loop.held else 0)
        if idle and not found and not self._loop.held:
            self._loop.jump(timeout)
        return found

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()
