"""A process in a namespace of process ids of its own, where it is the first one, as in a container."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.mesh.processes import eventually

AS_FIRST_PROCESS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Starts the command behind it as process 1."""


def _why_not() -> str:
    """Why that cannot be done here; empty if it can."""
    try:
        tried = subprocess.run([*AS_FIRST_PROCESS, "true"], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return f"no namespace of process ids: {error}"
    return f"no namespace of process ids: {tried.stderr.strip()}" if tried.returncode else ""


NO_NAMESPACE = _why_not()


async def first_process(of: int) -> int:
    """The process id, as seen from here, of process 1 under the `unshare` of that id."""

    async def child() -> int:
        try:
            return int(Path(f"/proc/{of}/task/{of}/children").read_text().split()[0])
        except (OSError, IndexError):
            return 0

    return int(await eventually(child))
