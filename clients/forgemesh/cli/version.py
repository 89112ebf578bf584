"""`forgemesh version`."""

from __future__ import annotations

import sys

from forgemesh.chassis.version import VERSION
from forgemesh.cli.command_line import Given
from forgemesh.cli.release import version_line


def version(*, line: Given) -> None:
    """Print the version of ForgeMesh and of the Python that runs it."""
    if line.terminal.json:
        line.terminal.value({"forgemesh": VERSION, "python": sys.version.split()[0]})
    else:
        line.terminal.data(version_line())
