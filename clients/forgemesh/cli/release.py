"""Which ForgeMesh this is."""

from __future__ import annotations

import sys

from forgemesh.chassis.version import VERSION


def version_line() -> str:
    """For people, with the Python that runs it."""
    return f"forgemesh {VERSION} (Python {sys.version.split()[0]})"
