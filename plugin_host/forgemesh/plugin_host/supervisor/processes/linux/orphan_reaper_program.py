"""A program for one purpose: when its standard input ends, it ends the processes that were named there, and theirs."""

# It outlives a supervisor that is killed, and imports nothing that is not Python's own, but for what it looks with.

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from forgemesh.plugin_host.supervisor.processes.linux.process_table import (
    Kin,
    Process,
    belonging,
    end_found,
    running,
    start_time_of,
)

PATIENCE = 1.8
"""Seconds that a process has to end by itself, if it is one that sees the end of its supervisor."""
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader of a session; `mark` is 0 if no more than its session is to be ended."""

    pid: int
    started: str
    mark: int
    patient: bool

    @property
    def runs(self) -> bool:
        """Whether it is this very process that has the id."""
        return start_time_of(self.pid) == self.started


def guard(lines: Iterable[str], *, patience: float = PATIENCE) -> None:
    """
    Each line is "+ <pid> <start time> <mark>" for the leader of a session, "~ ..." for one that ends by itself and has
    `patience` (seconds) to do so, or "- <pid> 0 0" once it has ended.
    """
    leaders: dict[int, Leader] = {}
    for line in lines:
        sign, pid, started, mark = line.split()
        if sign == "-":
            leaders.pop(int(pid), None)
        else:
            leaders[int(pid)] = Leader(int(pid), started, int(mark), patient=sign == "~")
    _end([leader for leader in leaders.values() if not leader.patient], {})
    patient = [leader for leader in leaders.values() if leader.patient]
    found: dict[int, Process] = {}
    until = time.monotonic() + patience
    while any(leader.runs for leader in patient):
        found |= _sessions(running(), patient)
        if time.monotonic() >= until:
            break
        time.sleep(_LOOK)
    _end(patient, found)


def _end(leaders: list[Leader], before: dict[int, Process]) -> None:
    """End their sessions, the members that were found `before`, and whatever carries their marks."""
    kins = [Kin(leader.mark) for leader in leaders if leader.mark]

    def left() -> dict[int, Process]:
        table = running()
        found = _sessions(table, leaders)
        for kin in kins:
            found |= belonging(table, kin)
        return found | {pid: one for pid, one in before.items() if pid in table and table[pid].started == one.started}

    if leaders:
        end_found(left)


def _sessions(table: dict[int, Process], leaders: list[Leader]) -> dict[int, Process]:
    """Of a leader that is gone, or whose id is another's now, nothing is found."""
    alive = {one.pid for one in leaders if one.pid in table and table[one.pid].started == one.started}
    return {pid: one for pid, one in table.items() if one.session in alive}


def main() -> None:
    """Guard what standard input says."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(iter(sys.stdin.readline, ""))
