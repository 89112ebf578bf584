"""`forgemesh down`."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from forgemesh.cli.command_line import Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.mesh.directory import is_held
from forgemesh.cli.problem import Problem
from forgemesh.client.mesh_file import DATA_DIRECTORY, read_mesh

_DEADLINE = 60.0
_PERIOD = 0.05


def down(*, data_dir: Path = Path(DATA_DIRECTORY), line: Given) -> None:
    """
    Stop the mesh that runs in a data directory, and wait until it is gone. Its data stays.

    Parameters
    ----------
    data_dir
        What `forgemesh up` was told.
    """
    facts = read_mesh(data_dir)
    held = is_held(data_dir)
    if held and facts is None:
        raise Problem(
            ExitCode.REFUSED,
            f"a mesh is starting or stopping in {data_dir}",
            reason="MESH_NOT_READY",
            hint="wait until it is ready, or press Ctrl-C where it was started",
        )
    if facts is None or not held:
        raise Problem(
            ExitCode.NOT_FOUND,
            f"no mesh runs in {data_dir}",
            reason="MESH_NOT_FOUND",
            code="NOT_FOUND",
            hint="start one with: forgemesh up       or name another --data-dir",
        )
    with suppress(ProcessLookupError):
        os.kill(facts.pid, signal.SIGTERM)
    until = time.monotonic() + _DEADLINE
    while is_held(data_dir) and time.monotonic() < until:
        time.sleep(_PERIOD)
    if is_held(data_dir):
        raise Problem(
            ExitCode.FAILED,
            f"the mesh in {data_dir} (pid {facts.pid}) did not stop within {_DEADLINE:g} s",
            reason="MESH_DOES_NOT_STOP",
            hint=f"kill -9 {facts.pid} ends it and everything that it started",
        )
    line.terminal.talk(f"the mesh in {data_dir} (pid {facts.pid}) has stopped")
