"""Whether the files that a process has open are still the ones that others find under their names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

LOOK_PERIOD = 1.0
"""Seconds between two looks at all files."""


@dataclass(slots=True)
class FilesInPlace:
    """
    Files by their paths, each known by its device and inode.

    What was once removed or replaced stays `gone`: a file that is put back later lacks what was written meanwhile.
    A look at the vital ones, which hold what is written, takes a few microseconds: it is made before each answer.
    """

    gone: str = ""
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    _vital: list[str] = field(default_factory=list)

    def note(self, path: Path, file: int | None = None, *, vital: bool = False) -> None:
        """From now on `path` is to lead to `file`, or else to what it leads to now. Raises OSError."""
        found = os.stat(path) if file is None else os.fstat(file)  # noqa: PTH116 - as below
        self._known[str(path)] = found.st_dev, found.st_ino
        if vital:
            self._vital.append(str(path))

    def look(self) -> str:
        """What has become of the first file that is not in its place; empty if all are."""
        return self._look_at(self._known)

    def look_at_vital(self) -> str:
        """As `look`, at those without which nothing is found again."""
        return self._look_at(self._vital)

    def _look_at(self, paths: Iterable[str]) -> str:
        for path in paths if not self.gone else ():
            try:
                found = os.stat(path)  # noqa: PTH116 - a third of the cost of Path.stat
            except OSError as error:
                self.gone = f"{path} was removed while it was open ({error.strerror})"
                break
            if (found.st_dev, found.st_ino) != self._known[path]:
                self.gone = f"{path} was replaced while it was open"
                break
        return self.gone
