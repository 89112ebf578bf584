"""A program for one purpose: when its standard input ends, it ends the processes that were named there, and theirs."""

# It outlives a supervisor that is killed, and imports nothing that is not Python's own.

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PATIENCE = 1.8
"""Seconds that a process has to end by itself, if it is one that sees the end of its supervisor."""
_LOOK = 0.1


def guard(lines: Iterable[str], *, patience: float = PATIENCE) -> None:
    """
    Each line is "+ <pid> <start time>" for the leader of a session, "~ ..." for one that ends by itself and has
    `patience` (seconds) to do so, or "- <pid> 0" once it has ended.
    """
    leaders: dict[int, tuple[str, bool]] = {}
    for line in lines:
        sign, pid, started = line.split()
        if sign == "-":
            leaders.pop(int(pid), None)
        else:
            leaders[int(pid)] = (started, sign == "~")
    _end(_members({pid: started for pid, (started, patient) in leaders.items() if not patient}))
    patient = {pid: started for pid, (started, patient) in leaders.items() if patient}
    found: dict[int, str] = {}
    until = time.monotonic() + patience
    while patient:
        found |= _members(patient)
        patient = {pid: started for pid, started in patient.items() if pid in found}
        if time.monotonic() >= until or not any(_start_time_of(pid) == started for pid, started in patient.items()):
            break
        time.sleep(_LOOK)
    _end(found)


def _members(leaders: dict[int, str]) -> dict[int, str]:
    """
    All processes of the sessions that these lead, by id, with the times of their starts.

    Of a leader that is gone, or whose id is another's now, nothing is found.
    """
    alive = {pid for pid, started in leaders.items() if _start_time_of(pid) == started}
    found = {}
    for entry in Path("/proc").iterdir() if alive else ():
        if entry.name.isdigit():
            fields = _fields(int(entry.name))
            if fields and int(fields[3]) in alive:
                found[int(entry.name)] = fields[19]
    return found


def _end(processes: dict[int, str]) -> None:
    for pid, started in processes.items():
        with contextlib.suppress(OSError):
            if _start_time_of(pid) == started:  # never another process that has got the id since
                os.kill(pid, signal.SIGKILL)


def _start_time_of(pid: int) -> str:
    fields = _fields(pid)
    return fields[19] if fields else ""


def _fields(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(iter(sys.stdin.readline, ""))
