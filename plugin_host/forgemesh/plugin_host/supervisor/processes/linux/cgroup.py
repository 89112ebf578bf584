"""Control groups (cgroup v2), where the supervisor may make some: they bound memory and processor for real."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from forgemesh.plugin_host.supervisor.plan.plan import Limits

_log = logging.getLogger(__name__)

MOUNTED = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "cpu")
PERIOD = 100_000
"""Microseconds over which the share of the processor is counted."""
_OURS = "supervisor"


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group of one instance."""

    path: Path

    def take_in(self, pid: int) -> None:
        """Put a process into it, unless it has ended."""
        try:
            self.processes.write_text(str(pid))
        except OSError as error:
            _log.warning("process %d runs without its limits: %s", pid, error)

    @property
    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self.path / "memory.events").read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        return 0

    @property
    def processes(self) -> Path:
        """The file that lists what is in it."""
        return self.path / "cgroup.procs"

    def remove(self) -> None:
        """It is empty now."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


class Cgroups:
    """Makes groups below `root`, the group that was delegated to the supervisor; makes none if that is None."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    @property
    def there(self) -> bool:
        """Whether limits can be set."""
        return self._root is not None

    def made(self, instance_id: str, limits: Limits) -> Cgroup | None:
        """The group of an instance with limits on memory or processor; None if there are none, or it cannot be made."""
        if self._root is None or not (limits.memory or limits.cpu):
            return None
        group = Cgroup(self._root / f"host-{instance_id}")
        try:
            group.path.mkdir(exist_ok=True)
            if limits.memory:
                (group.path / "memory.max").write_text(str(limits.memory))
                with contextlib.suppress(FileNotFoundError):  # a machine without swap accounting
                    (group.path / "memory.swap.max").write_text("0")
            if limits.cpu:
                (group.path / "cpu.max").write_text(f"{int(limits.cpu * PERIOD)} {PERIOD}")
        except OSError as error:
            _log.warning("the limits of %s cannot be set in %s: %s", instance_id, group.path, error)
            return None
        return group


def delegated(mounted: Path = MOUNTED, own: str | None = None) -> Cgroups:
    """
    The groups of a supervisor to which a cgroup v2 with memory and cpu is delegated; else none.

    A group that has children may hold no processes itself, so the supervisor moves into a child of its own.
    """
    own = _own_path() if own is None else own
    root = mounted / own.lstrip("/")
    try:
        offered = (root / "cgroup.controllers").read_text().split()
        if own in ("", "/") or not set(CONTROLLERS) <= set(offered):
            return Cgroups(None)
        ours = root / _OURS
        ours.mkdir(exist_ok=True)
        (ours / "cgroup.procs").write_text(str(os.getpid()))
        (root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    except OSError as error:
        _log.debug("no cgroup is delegated to this process: %s", error)
        return Cgroups(None)
    return Cgroups(root)


def _own_path() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line.removeprefix("0::")
    return ""
