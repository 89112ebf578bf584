"""Keeps room for those who call: connections that nobody uses are closed when there are too many of them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.callers import Callers, plain_host
from forgemesh.chassis.threads import start_thread

_log = logging.getLogger(__name__)

_DESCRIPTORS = Path("/proc/self/fd")
_PERIOD = 0.05
"""Seconds between two looks."""
_CALM_PERIOD = 0.25
"""The same while few files are open: a thread that wakes takes the interpreter from whoever works."""
_SHARE = 0.05
"""Of a processor's time that this may take, where many are open."""
_TCP_INFO_SIZE = 104
_LAST_DATA_RECEIVED = 52
"""Where `struct tcp_info` of Linux has the milliseconds since the other end last sent something."""
_INTERNET = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Door:
    """A port, above how many connections the unused ones are closed, and who calls there."""

    port: int
    most: int
    callers: Callers


@dataclass(frozen=True, slots=True)
class _Connection:
    descriptor: int
    place: tuple[str, int]
    quiet: int
    """Milliseconds."""


class Doorkeeper:
    """
    Looks at the connections to each door in a thread of its own.

    gRPC closes what exceeds its limit of connections, whoever it is, so that those who came first and say nothing keep
    out everybody else. This closes, long before that limit, connections without a call: of the host that has most of
    them, those first that never had one, and of these those that have been quiet for longest. So one on which a call
    has arrived that a busy event loop has not begun yet is among the last. A channel whose connection is closed opens
    another one with its next call. Nothing is done where the system does not show a process its descriptors.
    """

    def __init__(self, *doors: Door) -> None:
        self._doors = doors
        self._closed = threading.Event()
        self._said = 0
        self.turned_out = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the doors while the block runs."""
        start_thread("doorkeeper", self._run)
        try:
            yield
        finally:
            self._closed.set()

    def _run(self) -> None:
        pause = _CALM_PERIOD
        while not self._closed.wait(pause):
            began = time.thread_time()
            period = _PERIOD
            try:
                if self.look() <= min(door.most for door in self._doors) / 4:
                    period = _CALM_PERIOD
            except OSError as error:
                _log.warning("cannot look at the connections: %s", error)
            pause = max(period, (time.thread_time() - began) / _SHARE)

    def look(self) -> int:
        """Close what is too many; how many files were open."""
        if not _DESCRIPTORS.is_dir():
            return 0
        descriptors = [int(entry.name) for entry in os.scandir(_DESCRIPTORS)]
        if len(descriptors) <= min(door.most for door in self._doors):
            return len(descriptors)
        found = _connections(descriptors, frozenset(door.port for door in self._doors))
        self._tell(sum(self._close(door, found.get(door.port, [])) for door in self._doors))
        return len(descriptors)

    def _close(self, door: Door, connections: list[_Connection]) -> int:
        if len(connections) <= door.most:
            return 0
        busy, known = door.callers.busy(), door.callers.known()
        unused = [one for one in connections if one.place not in busy]
        chosen = _too_many(unused, known, min(len(unused), len(connections) - door.most))
        return sum(_turn_out(one) for one in chosen)

    def _tell(self, closed: int) -> None:
        self.turned_out += closed
        if closed and not self._said:
            _log.warning("too many connections without a call: those that were quiet for longest are closed")
        elif not closed and self._said:
            _log.warning("%d connections without a call were closed", self._said)
            self._said = 0
        self._said += closed


def _connections(descriptors: list[int], ports: frozenset[int]) -> dict[int, list[_Connection]]:
    """Those whose end here is one of the ports, by that port."""
    found: dict[int, list[_Connection]] = {}
    for descriptor in descriptors:
        with contextlib.suppress(OSError), _duplicate(descriptor) as one:
            here = one.getsockname()
            if one.family not in _INTERNET or here[1] not in ports:
                continue
            there = one.getpeername()
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
            quiet = int.from_bytes(info[_LAST_DATA_RECEIVED : _LAST_DATA_RECEIVED + 4], sys.byteorder)
            found.setdefault(here[1], []).append(_Connection(descriptor, (plain_host(there[0]), there[1]), quiet))
    return found


def _too_many(unused: list[_Connection], known: frozenset[tuple[str, int]], number: int) -> list[_Connection]:
    """`number` of them: of the host that has most, those first that are not `known`, the longest quiet first."""
    held = Counter(one.place[0] for one in unused)
    chosen: list[_Connection] = []
    in_order = sorted(unused, key=lambda one: (one.place in known, -one.quiet))
    while len(chosen) < number:
        host, count = held.most_common(1)[0]
        fair = held.most_common(2)[-1][1] if len(held) > 1 else 0
        take = min(number - len(chosen), max(1, count - fair))
        mine = [one for one in in_order if one.place[0] == host][:take]
        chosen += mine
        gone = set(mine)
        in_order = [one for one in in_order if one not in gone]
        held[host] -= len(mine)
    return chosen


def _turn_out(connection: _Connection) -> bool:
    """Close it, unless its descriptor is something else by now."""
    with contextlib.suppress(OSError), _duplicate(connection.descriptor) as one:
        there = one.getpeername()
        if (plain_host(there[0]), there[1]) == connection.place:
            one.shutdown(socket.SHUT_RDWR)
            return True
    return False


@contextlib.contextmanager
def _duplicate(descriptor: int) -> Iterator[socket.socket]:
    """The same socket under a descriptor of our own, so that nobody else's is closed; OSError if it is none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    with socket.socket(fileno=os.dup(descriptor)) as one:
        yield one
