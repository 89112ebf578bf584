"""`forgemesh version`."""

from __future__ import annotations

import platform

from forgemesh.chassis.version import VERSION
from forgemesh.cli.command_line import Given


def version(*, line: Given) -> None:
    """Print the version of ForgeMesh and of the Python that runs it."""
    facts = {"forgemesh": VERSION, "python": platform.python_version()}
    if line.terminal.json:
        line.terminal.value(facts)
    else:
        line.terminal.data(f"forgemesh {facts['forgemesh']} (Python {facts['python']})")
