"""`forgemesh execution replay`."""

from __future__ import annotations

import subprocess
import sys

from forgemesh.cli.command_line import Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem, usage


def replay(file: str, /, *, to: int | None = None, line: Given) -> None:
    """
    Play an exported execution back, event by event, without a mesh; with -o json one event a line.

    Parameters
    ----------
    file
        What `forgemesh execution export` wrote.
    to
        Stop after the event of this sequence number.
    """
    if to is not None and to < 1:
        raise usage(f"--to {to} plays nothing back", hint="events are numbered from 1")
    command = [sys.executable, "-m", "forgemesh.orchestrator.api.replay"]
    command += ["--to", str(to)] if to is not None else []
    command += ["--json"] if line.terminal.json else []
    say = line.terminal.encoded if line.terminal.json else line.terminal.data
    with subprocess.Popen([*command, "--", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as player:
        assert player.stdout is not None
        assert player.stderr is not None
        for text in player.stdout:
            say(text.rstrip("\n"))
        said = player.stderr.read().strip()
    if player.returncode:
        raise _problem(said, player.returncode)


def _problem(said: str, status: int) -> Problem:
    if status == ExitCode.USAGE:
        hint = "write a file anew with: forgemesh execution export EXECUTION"
        return usage(said.removeprefix("error: "), hint=hint, reason="ARCHIVE_UNREADABLE")
    message = f"the replay ended with status {status}"
    return Problem(ExitCode.FAILED, message, reason="INTERNAL", code="INTERNAL", details=(said[-2000:],))
