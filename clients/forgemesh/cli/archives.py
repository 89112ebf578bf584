"""`forgemesh execution export|import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from forgemesh.cli.arguments import NAMED_FILE
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.execution_control import say_standing
from forgemesh.cli.problem import usage
from forgemesh.cli.selection import find_execution
from forgemesh.client import Client

_STANDARD = "-"


async def export(
    execution: str,
    file: Annotated[str | None, NAMED_FILE] = None,
    /,
    *,
    force: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Write an execution to a file that another mesh can import.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    file
        Where to, or - for stdout; <id>.execution in the working directory if not given.
    force
        Write over a file that is there.
    """
    if file == _STANDARD and line.terminal.is_seen():
        raise usage(
            "an archive is no text, and stdout is a terminal",
            hint=f"write it to a file: forgemesh execution export {execution}       or send it on: ... - | COMMAND",
        )
    async with Client.connect(line.address) as mesh:
        found = await find_execution(mesh, execution, line.namespace)
        if file == _STANDARD:
            await line.terminal.raw(found.archive())
            return
        path = _target(file or f"{found.id}.execution", force=force)
        try:
            await found.export(path)
        except OSError as error:
            raise usage(f"cannot write {path}: {error.strerror}") from error
    if line.terminal.json:
        line.terminal.value({"execution_id": found.id, "file": str(path)})
        return
    line.terminal.data(str(path))
    line.terminal.talk(f"take it over elsewhere with: forgemesh execution import {path}")


async def import_(file: Annotated[str, NAMED_FILE], /, *, execution_id: str | None = None, line: Given) -> None:
    """
    Take over an execution that another mesh has exported; one that has not ended arrives paused.

    Parameters
    ----------
    file
        What `forgemesh execution export` wrote, or - for stdin.
    execution_id
        Another id than the one it had.
    """
    source = sys.stdin.buffer.read() if file == _STANDARD else Path(file)
    async with Client.connect(line.address) as mesh:
        try:
            imported = await mesh.import_execution(source, execution_id=execution_id, namespace=line.namespace)
        except OSError as error:
            raise usage(f"cannot read {file}: {error.strerror}") from error
    say_standing(imported.last_seen, line.terminal)


def _target(file: str, *, force: bool) -> Path:
    path = Path(file)
    if path.exists() and not force:
        raise usage(f"{path} is there already", hint="say --force to write over it, or name another file")
    return path
