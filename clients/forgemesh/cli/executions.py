"""`forgemesh execution list|watch`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import Given
from forgemesh.cli.follow import follow_to_end
from forgemesh.cli.moment import moment
from forgemesh.cli.problem import usage
from forgemesh.cli.progress import duration
from forgemesh.cli.selection import UNFILTERED, Filters, find_execution
from forgemesh.cli.table import Table
from forgemesh.cli.terminal import as_values
from forgemesh.client import Client, Status
from forgemesh.client.execution_filter import Order

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution

_ORDERS: dict[str, Order] = {
    "newest": "started_descending",
    "oldest": "started_ascending",
    "ended-last": "ended_descending",
    "ended-first": "ended_ascending",
}


async def list_(
    *,
    filters: Filters = UNFILTERED,
    order: Annotated[Literal["newest", "oldest", "ended-last", "ended-first"], Parameter(negative=())] = "newest",
    limit: int = 20,
    line: Given,
) -> None:
    """
    List executions, newest first.

    Examples:

        forgemesh execution list --status failed --status timed-out --since 1d

        forgemesh execution list --open --order oldest

    Parameters
    ----------
    order
        Which come first: the newest, the oldest, those that ended last, or those that ended first.
    limit
        At most so many.
    """
    if limit < 1:
        raise usage(f"--limit {limit} lists nothing", hint="take a number from 1")
    where = filters.filter(datetime.now(UTC))
    async with Client.connect(line.address) as mesh:
        found = await mesh.list_executions(where, order=_ORDERS[order], limit=limit, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.value(as_values({"executions": found}))
        return
    if not found:
        none = "no execution fits" if filters.said() else "no executions; start one with: forgemesh run FILE"
        line.terminal.talk(none)
        return
    table = Table(("EXECUTION", "WORKFLOW", "VERSION", "STATUS", "STARTED", "TOOK", "NOTE"))
    for execution in found:
        table.add(
            execution.execution_id,
            execution.workflow,
            execution.workflow_version,
            Status.of(execution),
            moment(execution.started_at),
            took(execution),
            note(execution),
        )
    line.terminal.table(table)


async def watch(
    execution: str,
    /,
    *,
    timeout: str | None = None,
    line: Given,
) -> None:
    """
    Follow an execution until it has ended, then print its result; with -o json its events, one a line.

    Ctrl-C stops following, never the execution. Exits with 1 if the execution failed.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    timeout
        Follow at most so long, e.g. 30s or 2m.
    """
    wait = seconds(timeout, "--timeout")
    async with Client.connect(line.address) as mesh:
        found = await find_execution(mesh, execution, line.namespace)
        await follow_to_end(found, line.terminal, wait, events_as_data=line.terminal.json)


def took(execution: Execution) -> str:
    """From start to end; nothing while it is open."""
    if not execution.HasField("ended_at"):
        return ""
    return duration(execution.ended_at.ToNanoseconds() - execution.started_at.ToNanoseconds())


def note(execution: Execution) -> str:
    """Why it does not run although it is open, as far as it says so itself."""
    if execution.suspended_reason:
        return f"suspended: {execution.suspended_reason}"
    by = f"by {execution.stopped_by}" if execution.stopped_by else ""
    return ": ".join(part for part in (by, execution.stopped_reason) if part)
