"""Operations that go on although their calls are over: each holds a place that no other call can have."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from forgemesh.chassis.code_position import where
from forgemesh.plugin_host.host.calls.call import Call
from forgemesh.plugin_host.host.plugin.forks import awaitable_of

_log = logging.getLogger(__name__)

_MOST_NAMED = 3


class LostSlots:
    """
    The places, of `places` that there are, whose operations still run `after` seconds after their calls were answered.

    `on_change` is told what is lost, empty for nothing, and whether that is everything; `on_end`, why, once everything
    has been lost for `patience` seconds, unless that is 0.
    """

    def __init__(self, places: int, *, after: float, patience: float) -> None:
        self.on_change: Callable[[str, bool], None] = _nobody
        self.on_end: Callable[[str], None] = _log.error
        self._places = places
        self._after = after
        self._patience = patience
        self._calls: dict[Call, None] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def all(self) -> bool:
        """Whether no place is left."""
        return len(self._calls) >= self._places

    def expect(self, call: Call) -> None:
        """The call is answered, and its operation goes on."""
        call.timer = self._loop.call_later(self._after, self._add, call)

    def found(self, call: Call) -> None:
        """The operation has ended, whether its place was lost or not."""
        if call not in self._calls:
            return
        del self._calls[call]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell()

    def _add(self, call: Call) -> None:
        self._calls[call] = None
        if self.all and self._patience:
            self._timer = self._loop.call_later(self._patience, self._end)
        self._tell()

    def _end(self) -> None:
        self.on_end(f"{self._said()}; none has come back for {self._patience:g} s")

    def _tell(self) -> None:
        said = self._said()
        _log.log(logging.WARNING if said else logging.INFO, "%s", said or "no place is lost any more")
        self.on_change(said, self.all)

    def _said(self) -> str:
        """Where the operations stand, the most frequent places first."""
        if not self._calls:
            return ""
        at = Counter(f"{call.operation.definition.name} at {place_of(call)}" for call in self._calls)
        named = [f"{place} ({times})" if times > 1 else place for place, times in at.most_common(_MOST_NAMED)]
        more = [f"{len(at) - _MOST_NAMED} more places"] if len(at) > _MOST_NAMED else []
        held = f"{len(self._calls)} of {self._places} places are held by operations whose calls are over"
        return f"{held}: {', '.join([*named, *more])}"


def place_of(call: Call) -> str:
    """Where the operation stands: the innermost place in the file of its method, else the innermost of all."""
    frames = _of_thread(call.thread) if call.thread else _of_task(call.task)
    file = getattr(getattr(call.operation.method, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.f_code.co_filename == file]
    frames = own or frames
    return where(frames[-1]) if frames else "an unknown place"


def _of_thread(thread: int) -> list[FrameType]:
    """The outermost first."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _of_task(task: asyncio.Task[None] | None) -> list[FrameType]:
    """The outermost first."""
    frames: list[FrameType] = []
    step: Any = task.get_coro() if task is not None else None
    while step is not None:
        inner = awaitable_of(step)
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None and inner is None:
            frames.append(frame)
        step = inner if inner is not None else getattr(step, "cr_await", None)
    return frames


def _nobody(said: str, everything: bool) -> None:
    """Nobody has asked."""
