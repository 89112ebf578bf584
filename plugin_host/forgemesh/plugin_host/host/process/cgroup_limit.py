"""How much memory the control group of this process may hold, of either version of cgroups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")
_NONE = 1 << 60
"""Bytes above which a limit is how version 1 says that there is none."""
_UP = ".."


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a hierarchy of groups is seen: what stands at `point` is the group `root` of it."""

    point: Path
    root: PurePosixPath


def memory_limit(process: Path = PROCESS, system: Path = Path("/")) -> int:
    """
    The smallest limit of memory, in bytes, of the group of a process and of those that it is in; 0 if there is none.

    `process` is the process's folder in /proc, `system` what stands before the paths that it names.
    """
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for version, path in _groups(process):
            mount = _mount(process, version)
            if mount is not None:
                found += _limits(system / mount.point.relative_to("/"), _below(mount, path), version)
    return min((limit for limit in found if limit < _NONE), default=0)


def _groups(process: Path) -> Iterator[tuple[int, PurePosixPath]]:
    """Of each version that counts memory, the group."""
    for line in (process / "cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield 2, PurePosixPath(path)
        elif "memory" in controllers.split(","):
            yield 1, PurePosixPath(path)


def _mount(process: Path, version: int) -> _Mount | None:
    for line in (process / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, point = before.split(" ")[3:5]
        if kind == "cgroup2" if version == 2 else kind == "cgroup" and "memory" in options.split(","):
            return _Mount(Path(point), PurePosixPath(root))
    return None


def _below(mount: _Mount, path: PurePosixPath) -> PurePosixPath:
    """
    The group's folder below the mount. In a container only the container's own group may be mounted, so that what is
    outside of it cannot be seen.
    """
    if _UP in path.parts or _UP in mount.root.parts or not path.is_relative_to(mount.root):
        return PurePosixPath()
    return path.relative_to(mount.root)


def _limits(point: Path, below: PurePosixPath, version: int) -> Iterator[int]:
    for folder in (below, *below.parents):
        if version == 2:
            yield _number(point / folder / "memory.max")
        else:
            yield _number(point / folder / "memory.limit_in_bytes")
            yield _hierarchical(point / folder / "memory.stat")


def _hierarchical(file: Path) -> int:
    """Version 1 says in a group also what bounds those above it, which a container cannot see."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "hierarchical_memory_limit":
                return int(value)
    return _NONE


def _number(file: Path) -> int:
    """What a file says; "max", and one that is not there, are no limit."""
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text())
    return _NONE
