"""Threads for synchronous operations."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

from forgemesh.chassis.threads import start_thread

_log = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]


class WorkerThreads:
    """
    Runs jobs in at most `limit` threads, which are started as they are needed.

    The threads do not keep the process alive: an operation that never returns cannot hold up its end.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, job: Job) -> None:
        """Run `job`, which raises nothing, as soon as a thread is free."""
        self._jobs.put(job)
        if self._idle.acquire(blocking=False) or self._started == self._limit:
            return
        self._started += 1
        start_thread(f"operation-{self._started}", self._work)

    def close(self) -> None:
        """End the threads as their jobs end."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while self._works():
            pass

    def _works(self) -> bool:
        """Wait for a job and run it; false if there is none to come."""
        try:
            job = self._jobs.get()
            if job is None:
                return False
            try:
                job()
            finally:
                self._idle.release()
        except BaseException as error:  # noqa: BLE001 - the author's code can throw into threads, also late
            _log.error("thread %s was interrupted, and goes on", threading.current_thread().name, exc_info=error)
        return True
