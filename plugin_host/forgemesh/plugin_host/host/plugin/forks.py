"""Copies of a host that the author's code makes with os.fork: they keep nothing of the host, and never go on as it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import traceback
import types
from collections.abc import Awaitable, Callable, Collection, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_DEFAULTS: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
_DESCRIPTORS = Path("/proc/self/fd")


class Origin:
    """The process that runs the author's code; what comes back from that code in a copy of the process ends there."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = os.getpid()

    def end_copy(self, error: BaseException | None = None) -> None:
        """
        Without effect in the process itself. A copy ends here.

        Its exit code is 0, or what SystemExit says, or 1 after the traceback of any other `error`.
        """
        if os.getpid() == self._pid:
            return
        code = 0
        try:
            code = _exit_code(error)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            os._exit(code)

    def awaited(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        """To be awaited in its place: a copy ends instead of giving the event loop, which it shares, a turn."""
        return stepwise(awaitable, self)

    def executor(self) -> ThreadPoolExecutor:
        """Threads for `asyncio.to_thread`, from which no copy comes back."""
        return _Executor(self)


class CopiesKeepNothing:
    """
    From its making on, whatever forks in this process: a copy does not get the host's signals, nor hold its ports.

    To be made once in a process, on the event loop's thread, when the loop has its signal handlers. `ports` are those
    that the host listens at.
    """

    def __init__(self) -> None:
        self.ports: Collection[int] = ()
        self._handlers = {number: signal.getsignal(number) for number in _DEFAULTS}
        self._before = threading.local()
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._let_go)

    def _hold(self) -> None:
        """A signal to a copy that is not yet set right would reach the host's event loop, by a pipe that both hold."""
        self._before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before.mask)

    def _let_go(self) -> None:
        gc.freeze()  # collecting what is the host's would end gRPC's objects without gRPC's threads
        signal.set_wakeup_fd(-1)
        for number, ours in self._handlers.items():
            if signal.getsignal(number) == ours:  # one that the author has set stays
                signal.signal(number, _DEFAULTS[number])
        self._release()
        if self.ports:
            _close_sockets(self.ports)


@types.coroutine
def stepwise(awaitable: Awaitable[T], origin: Origin) -> Generator[Any, Any, T]:
    """What `await` gives; after each step of it a copy of the process ends."""
    steps: Any = awaitable.__await__()
    go: Callable[..., Any] = steps.__next__
    arguments: tuple[Any, ...] = ()
    while True:
        try:
            waits_for = go(*arguments)
        except StopIteration as end:
            origin.end_copy()
            return end.value  # type: ignore[no-any-return]
        except BaseException as error:
            origin.end_copy(error)
            raise
        origin.end_copy()
        try:
            sent = yield waits_for
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to what is awaited
            go, arguments = steps.throw, (error,)
        else:
            go, arguments = (steps.__next__, ()) if sent is None else (steps.send, (sent,))


def awaitable_of(step: object) -> object:
    """What goes on behind `stepwise`, if that is the step; None for any other."""
    if getattr(step, "gi_code", None) is not stepwise.__code__:
        return None
    frame: FrameType | None = getattr(step, "gi_frame", None)
    return frame.f_locals["awaitable"] if frame is not None else None


class _Executor(ThreadPoolExecutor):
    def __init__(self, origin: Origin) -> None:
        super().__init__(thread_name_prefix="to-thread")
        self._origin = origin

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(self._run, fn, args, kwargs)

    def _run(self, work: Callable[..., T], arguments: tuple[Any, ...], named: dict[str, Any]) -> T:
        try:
            result = work(*arguments, **named)
        except BaseException as error:
            self._origin.end_copy(error)
            raise
        self._origin.end_copy()
        return result


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1


def _close_sockets(ports: Collection[int]) -> None:
    """What the host listens at, and its callers' connections: else these would outlive the host with the copy."""
    for entry in list(_DESCRIPTORS.iterdir()) if _DESCRIPTORS.exists() else ():
        with contextlib.suppress(OSError, ValueError):
            found = socket.socket(fileno=os.dup(int(entry.name)))
            with found:
                local = found.getsockname()
            if found.family in (socket.AF_INET, socket.AF_INET6) and local[1] in ports:
                os.close(int(entry.name))
