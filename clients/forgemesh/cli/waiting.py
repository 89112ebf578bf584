"""`forgemesh execution wait|result`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Annotated

from cyclopts import Parameter

from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import Given
from forgemesh.cli.execution_control import say_standing
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.follow import problem_of_failure, show_bytes, show_result, still_open
from forgemesh.cli.problem import Problem
from forgemesh.cli.selection import find_execution
from forgemesh.client import Client, ExecutionFailed, Status
from forgemesh.client.status import FINAL
from forgemesh.faults.workflow import PayloadUnreadable


async def wait(
    execution: str,
    /,
    *,
    until: Annotated[tuple[Status, ...], Parameter(name="--for", negative=(), show_default=False)] = (),
    timeout: str | None = None,
    line: Given,
) -> None:
    """
    Wait until an execution has ended, or stands as you say; exits with 1 once it can only stand otherwise.

    Examples:

        forgemesh execution wait @last

        forgemesh execution wait 01m835g3 --for paused --timeout 30s

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    until
        How it may stand then, e.g. paused; several are any of them. If not given: however it has ended.
    timeout
        Wait at most so long, e.g. 30s or 2m.
    """
    limit, wanted = seconds(timeout, "--timeout"), frozenset(until)
    async with Client.connect(line.address) as mesh:
        found = await find_execution(mesh, execution, line.namespace)
        try:
            async with asyncio.timeout(limit):
                seen = await found.wait(wanted | FINAL if wanted else FINAL)
        except TimeoutError as error:
            raise still_open(found.id, limit or 0.0) from error
    if wanted and Status.of(seen) not in wanted:
        raise _never(found.id, Status.of(seen), wanted)
    say_standing(seen, line.terminal)


async def result(execution: str, /, *, timeout: str | None = None, line: Given) -> None:
    """
    Print the result of an execution, once it has ended; exits with 1 if it has not ended well.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    timeout
        Wait at most so long, e.g. 30s or 2m.
    """
    limit = seconds(timeout, "--timeout")
    async with Client.connect(line.address) as mesh:
        found = await find_execution(mesh, execution, line.namespace)
        try:
            async with asyncio.timeout(limit):
                output = await found.result()
        except TimeoutError as error:
            raise still_open(found.id, limit or 0.0) from error
        except ExecutionFailed as failed:
            raise problem_of_failure(failed) from failed
        except PayloadUnreadable:
            show_bytes(found.last_seen.output, line.terminal)
            raise
    show_result(output, line.terminal)


def _never(execution_id: str, status: Status, wanted: Collection[Status]) -> Problem:
    named = " or ".join(sorted(map(str, wanted)))
    return Problem(
        ExitCode.FAILED,
        f"execution {execution_id} has ended ({status}) and will not be {named}",
        reason="ALREADY_ENDED",
        code="FAILED_PRECONDITION",
        hint=f"forgemesh execution show {execution_id}",
    )
