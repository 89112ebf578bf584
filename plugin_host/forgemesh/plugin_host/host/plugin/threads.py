"""Threads for synchronous operations."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeAlias

from forgemesh.chassis.threads import start_thread

_log = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]
Interrupted: TypeAlias = Callable[[BaseException], None]
_Taken: TypeAlias = tuple[Job, Interrupted]


class WorkerThreads:
    """
    Runs jobs in at most `limit` threads, which are started as they are needed.

    The threads do not keep the process alive: an operation that never returns cannot hold up its end.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[_Taken | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, job: Job, interrupted: Interrupted) -> None:
        """
        Run `job`, which raises nothing, as soon as a thread is free.

        `interrupted` is told, in that thread, of what somebody has thrown into it before `job` began or after its end.
        """
        self._jobs.put((job, interrupted))
        if self._idle.acquire(blocking=False) or self._started == self._limit:
            return
        self._started += 1
        start_thread(f"operation-{self._started}", self._work)

    def close(self) -> None:
        """End the threads as their jobs end."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        jobs: Iterator[_Taken | None] = iter(self._jobs.get, ())
        taken: list[_Taken | None] = []
        while True:
            try:
                taken.extend(islice(jobs, 1))  # one step: what is thrown into the thread cannot come within
                if taken[0] is None:
                    return
                taken[0][0]()
            except BaseException as error:  # noqa: BLE001 - the author's code can throw into threads, also late
                _log.error("thread %s was interrupted, and goes on", threading.current_thread().name, exc_info=error)
                for one in filter(None, taken):
                    one[1](error)
            taken.clear()
            self._idle.release()
