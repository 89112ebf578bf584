"""How busy this process is, as it tells its supervisor, the registry and its callers."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

from forgemesh.api.plugin.v1 import load_pb2
from forgemesh.plugin_host.host.calls.call_runner import CallRunner

FRESH = 0.1
"""Seconds for which a report is told again as it is."""
_STATM = Path("/proc/self/statm")


class LoadMeter:
    """
    Makes reports when it is asked, from any thread.

    `cores` is how many of them the process may use, 0 all. `lag` tells for how long the event loop has not turned.
    """

    def __init__(self, runner: CallRunner, cores: float) -> None:
        self.lag: Callable[[], float] = float
        self._runner = runner
        self._cores = cores or float(usable_cores())
        self._making = threading.Lock()
        self._made = b""
        self._made_at = -FRESH

    def report(self) -> load_pb2.LoadReport:
        """How busy it is now."""
        with self._making:
            return self._report(time.monotonic())

    def encoded(self) -> bytes:
        """A report that is at most FRESH old, as bytes: it goes with each answer of a unary call."""
        now = time.monotonic()
        if now - self._made_at >= FRESH:
            with self._making:
                self._made, self._made_at = self._report(now).SerializeToString(), now
        return self._made

    def _report(self, now: float) -> load_pb2.LoadReport:
        runner, tally = self._runner, self._runner.tally
        rates = tally.rates(now, cpu_seconds())
        latency, success = tally.quality(now)
        running, waiting = runner.running, runner.waiting
        return load_pb2.LoadReport(
            cpu_utilization=rates.cpu / self._cores,
            rps_fractional=rates.ended,
            eps=rates.failed,
            application_utilization=(running + waiting) / runner.concurrency,
            named_metrics={
                "in_flight": running,
                "queued": waiting,
                "loop_lag_seconds": self.lag(),
                "latency_p95_seconds": latency,
                "success_rate": success,
                "memory_bytes": resident_bytes(),
            },
        )


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_seconds() -> float:
    """Processor time that this process has used."""
    return time.process_time()


def unreclaimable_bytes() -> int:
    """Of that, what is no copy of a file, so that the kernel can take none of it back; 0 where it does not say."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
        return (int(resident) - int(shared)) * resource.getpagesize()
    except (OSError, ValueError):
        return 0


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not say, the most that it ever held."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
