"""The processes of this machine, as /proc shows them: which of them descend from one, and their end."""

# The program of the orphan reaper uses it too, so it imports nothing that is not Python's own.

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import select
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LOWEST_MARK = 2**61
"""Of the limits that are marks: microseconds, 70,000 years."""
_LIMIT = "Max realtime timeout"
_MORE_ROUNDS = 10
_GONE_WITHIN = 2.0
"""Seconds that a killed process has to be gone."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs: a zombie is none. `started` is in the kernel's own words, and with `pid` names it for ever."""

    pid: int
    parent: int
    session: int
    started: str
    mark: int


@dataclass(frozen=True, slots=True)
class Kin:
    """
    All that carries `mark`, and descends from what does; with `session`, of these only the members of that session.

    What is listed in the file `listed`, a cgroup.procs, belongs to it as well.
    """

    mark: int
    session: int = 0
    listed: Path | None = None


def new_mark() -> int:
    """One that nobody has; 0 where a process cannot be marked."""
    mark = _LOWEST_MARK + secrets.randbelow(_LOWEST_MARK) if sys.platform == "linux" else 0
    with contextlib.suppress(OSError, ValueError), marking(mark):  # whether it may be: a bounded limit, a sandbox
        return mark
    return 0


@contextlib.contextmanager
def marking(mark: int) -> Iterator[None]:
    """
    What is started in the block carries `mark`, and so does all that this starts, whatever it does to its descent.

    A mark is a bound on the time that a process may keep a processor in real-time scheduling, so long that it bounds
    nothing. Limits pass to children through fork and exec, and neither another session, a dead parent nor an empty
    environment takes them away.
    """
    if not mark or sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_RTTIME)
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_RTTIME, before)


def mark_of(pid: int) -> int:
    """What a process is marked with; 0 if it is not, or gone."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "limits").read_text().splitlines():
            if line.startswith(_LIMIT):
                said = line.removeprefix(_LIMIT).split()[0]
                return int(said) if said.isdigit() and _LOWEST_MARK <= int(said) < 2 * _LOWEST_MARK else 0
    return 0


def start_time_of(pid: int) -> str:
    """When a process started, in the kernel's own words; with the process id it names one process for ever."""
    fields = _fields(pid)
    return fields[19] if fields else ""


def running() -> dict[int, Process]:
    """All processes by id; none where there is no /proc."""
    found = {}
    for pid in _ids():
        fields = _fields(pid)
        if fields and fields[0] not in "ZX":
            found[pid] = Process(pid, int(fields[1]), int(fields[3]), fields[19], mark_of(pid))
    return found


def belonging(table: dict[int, Process], kin: Kin) -> dict[int, Process]:
    """Those of `table` that belong to it, by id."""
    if kin.session:
        return {pid: one for pid, one in table.items() if one.mark == kin.mark and one.session == kin.session}
    children: dict[int, list[int]] = {}
    for one in table.values():
        children.setdefault(one.parent, []).append(one.pid)
    to_see = [*(pid for pid, one in table.items() if kin.mark and one.mark == kin.mark), *_listed(kin.listed)]
    found = {}
    while to_see:
        pid = to_see.pop()
        if pid in table and pid not in found:
            found[pid] = table[pid]
            to_see += children.get(pid, ())
    return found


def end_kin(kins: Collection[Kin]) -> list[Process]:
    """
    Kill all that belongs to any of them, also what starts meanwhile; what is still there then, if anything is.

    Takes one look at all processes of the machine if there is nothing to kill.
    """

    def found() -> dict[int, Process]:
        table = running()
        return {pid: one for kin in kins for pid, one in belonging(table, kin).items() if pid != os.getpid()}

    return end_found(found)


def end_found(found: Callable[[], dict[int, Process]]) -> list[Process]:
    """As `end_kin`, for what `found` finds each time that it is asked."""
    left = found()
    for _ in range(_MORE_ROUNDS):
        if not left:
            break
        kill(left.values())
        left = found()
    return list(left.values())


def kill(processes: Iterable[Process]) -> None:
    """Kill them, never another process that has got an id since, and return when they are gone, or soon."""
    with contextlib.ExitStack() as stack:
        killed = []
        for one in processes:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(one.pid)
                stack.callback(os.close, descriptor)
                if start_time_of(one.pid) == one.started:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    killed.append(descriptor)
        until = time.monotonic() + _GONE_WITHIN
        for descriptor in killed:
            end = select.poll()
            end.register(descriptor, select.POLLIN)
            end.poll(max(0.0, until - time.monotonic()) * 1000)


def _ids() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return []


def _listed(file: Path | None) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(line) for line in file.read_text().split()] if file is not None else []
    return []


def _fields(pid: int) -> list[str]:
    """Of its line in /proc from its state on; none of one that is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
