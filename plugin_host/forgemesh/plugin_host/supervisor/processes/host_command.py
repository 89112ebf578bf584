"""What is exec'ed for a section of forgemesh.toml."""

from __future__ import annotations

import sys
from collections.abc import Sequence

MODULE = ("-P", "-m", "forgemesh.plugin_host.main")
"""With -P nothing in the directory that it is started in takes the place of a library."""


def command_of(load: str, command: Sequence[str], python: str) -> tuple[str, ...]:
    """What to exec: our own host for a class, in `python` or in the Python that runs this; or the command as it is."""
    return (python or sys.executable, *MODULE) if load else tuple(command)
