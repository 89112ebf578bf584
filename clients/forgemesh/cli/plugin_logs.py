"""`forgemesh plugin logs`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from forgemesh.api.supervisor.v1.supervisor_service_pb2 import TailLogsRequest, TailLogsResponse
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.log_line import readable, record_of
from forgemesh.cli.problem import usage
from forgemesh.cli.supervisor import supervisor_of
from forgemesh.cli.terminal import as_value

_MOST = 1000


async def logs(
    target: str | None = None,
    /,
    *,
    lines: Annotated[int, Parameter(name=["-n", "--lines"])] = 10,
    follow: Annotated[bool, switch("-f", "--follow")] = False,
    line: Given,
) -> None:
    """
    Print what plugins have written, oldest first; each line names its instance, unless one is asked for.

    Parameters
    ----------
    target
        An instance, or a section of forgemesh.toml; all if not given.
    lines
        How many of the last lines of each, up to 1000.
    follow
        Go on with each line as it comes, until Ctrl-C.
    """
    if not 1 <= lines <= _MOST:
        raise usage(f"-n {lines} is no number of lines", hint=f"say one from 1 to {_MOST}")
    async with supervisor_of(line) as supervisor:
        wanted = await supervisor.target(target) if target is not None else {}
        request = TailLogsRequest(**wanted, lines=lines, follow=follow)
        async for one in supervisor.lines(request):
            if line.terminal.json:
                record = record_of(one.line)
                line.terminal.value(as_value(one) | ({"record": record} if record is not None else {}))
                continue
            prefix = "" if request.instance_id else f"{one.instance_id}  "
            for text in _texts(one):
                line.terminal.data(f"{prefix}{text}")


def _texts(one: TailLogsResponse) -> list[str]:
    lost = [f"... {one.dropped} lines were left out: they came too fast"] if one.dropped else []
    return [*lost, *readable(one.line)]
