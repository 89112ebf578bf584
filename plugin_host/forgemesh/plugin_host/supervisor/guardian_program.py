"""A program for one purpose: when its standard input ends, it ends the process groups that were named there."""

# It outlives a supervisor that is killed, and imports nothing that is not Python's own.

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path


def guard(lines: Iterable[str]) -> None:
    """Each line is "+ <pid> <start time>" for a leader of a process group, or "- <pid> 0" once that has ended."""
    groups: dict[int, str] = {}
    for line in lines:
        sign, pid, started = line.split()
        if sign == "+":
            groups[int(pid)] = started
        else:
            groups.pop(int(pid), None)
    for leader, started in groups.items():
        with contextlib.suppress(OSError):
            if _start_time_of(leader) == started:  # never another process that has got the id since
                os.killpg(leader, signal.SIGKILL)


def _start_time_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(iter(sys.stdin.readline, ""))
