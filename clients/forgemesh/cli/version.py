"""`forgemesh version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of

from forgemesh.cli.command_line import Given


def version(*, line: Given) -> None:
    """Print the version of ForgeMesh and of the Python that runs it."""
    facts = {"forgemesh": version_of("forgemesh"), "python": platform.python_version()}
    if line.terminal.json:
        line.terminal.value(facts)
    else:
        line.terminal.data(f"forgemesh {facts['forgemesh']} (Python {facts['python']})")
