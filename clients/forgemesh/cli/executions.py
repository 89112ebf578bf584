"""`forgemesh execution list|show|watch`, and how people name an execution."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus, Step, StepStatus
from forgemesh.cli.arguments import seconds
from forgemesh.cli.attendance import attend, show_result
from forgemesh.cli.command_line import Given
from forgemesh.cli.problem import usage
from forgemesh.cli.progress import duration, short
from forgemesh.cli.table import Table, printable, word
from forgemesh.cli.terminal import as_values
from forgemesh.client import Client, ExecutionHandle
from forgemesh.client.execution_filter import ExecutionFilter
from forgemesh.client.payload import decoded
from forgemesh.client.status import Status
from forgemesh.faults.workflow import ExecutionNotFound

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


LAST = "@last"
_SEARCHED = 5000
_SHOWN_MATCHES = 5


async def list_(
    *,
    workflow: str = "",
    status: Literal["running", "succeeded", "failed"] | None = None,
    limit: int = 20,
    line: Given,
) -> None:
    """
    List executions, newest first.

    Parameters
    ----------
    workflow
        Only executions of this workflow.
    status
        Only executions that stand there.
    limit
        At most so many.
    """
    if limit < 1:
        raise usage(f"--limit {limit} lists nothing", hint="take a number from 1")
    statuses = (Status[status.upper()],) if status else ()
    wanted = ExecutionFilter(workflows=(workflow,) if workflow else (), statuses=statuses)
    async with Client.connect(line.address) as mesh:
        found = await mesh.list_executions(wanted, limit=limit, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.value(as_values({"executions": found}))
        return
    if not found:
        line.terminal.talk("no executions; start one with: forgemesh run FILE")
        return
    table = Table(("EXECUTION", "WORKFLOW", "VERSION", "STATUS", "STARTED", "TOOK"))
    for execution in found:
        table.add(
            execution.execution_id,
            execution.workflow,
            execution.workflow_version,
            _status(execution),
            _moment(execution.started_at),
            _took(execution),
        )
    line.terminal.table(table)


async def show(execution: str, /, *, line: Given) -> None:
    """
    Show one execution and its steps.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, or @last.
    """
    async with Client.connect(line.address) as mesh:
        found = await (await find_execution(mesh, execution, line.namespace)).describe()
    if line.terminal.json:
        line.terminal.message(found)
        return
    for name, value in _facts(found):
        line.terminal.data(f"{name:<10} {printable(value)}")
    line.terminal.data("")
    line.terminal.table(_steps(found))
    if found.status == ExecutionStatus.EXECUTION_STATUS_SUCCEEDED:
        line.terminal.data("")
        show_result(decoded(found.output), line.terminal)


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
        Its id, a unique beginning of it, or @last.
    timeout
        Follow at most so long, e.g. 30s or 2m.
    """
    wait = seconds(timeout, "--timeout")
    async with Client.connect(line.address) as mesh:
        found = await find_execution(mesh, execution, line.namespace)
        await attend(found, line.terminal, wait, events_as_data=line.terminal.json)


async def find_execution(mesh: Client, named: str, namespace: str) -> ExecutionHandle:
    """
    The execution of this id, the newest one (@last), or the one whose id begins so.

    Raises ExecutionNotFound, or Problem if several ids begin so.
    """
    if named == LAST:
        newest = await mesh.list_executions(limit=1, namespace=namespace)
        if not newest:
            raise ExecutionNotFound(LAST)
        return await mesh.execution(newest[0].execution_id, namespace=namespace)
    try:
        return await mesh.execution(named, namespace=namespace)
    except ExecutionNotFound:
        listed = await mesh.list_executions(limit=_SEARCHED, namespace=namespace)
        matches = [one.execution_id for one in listed if one.execution_id.startswith(named)]
        if not matches:
            raise
    if len(matches) > 1:
        more = ["..."] if len(matches) > _SHOWN_MATCHES else []
        raise usage(
            f"{len(matches)} executions begin with {named!r}",
            *matches[:_SHOWN_MATCHES],
            *more,
            hint="write more of the id",
            reason="AMBIGUOUS_ID",
        )
    return await mesh.execution(matches[0], namespace=namespace)


def _facts(execution: Execution) -> list[tuple[str, str]]:
    facts = [
        ("execution", execution.execution_id),
        ("workflow", f"{execution.workflow} {execution.workflow_version}"),
        ("status", _status(execution)),
        ("started", _moment(execution.started_at)),
        ("took", _took(execution)),
        ("trace", execution.trace_id),
    ]
    if execution.HasField("failure"):
        place = f" (at {execution.failure.step_path})" if execution.failure.step_path else ""
        facts.append(("failure", f"{execution.failure.reason}: {execution.failure.message}{place}"))
    return facts


def _steps(execution: Execution) -> Table:
    table = Table(("STEP", "KIND", "STATUS", "ATTEMPTS", "INSTANCE", "TOOK", "WHY"))
    for step in execution.steps:
        took = (
            duration(step.ended_at.ToNanoseconds() - step.began_at.ToNanoseconds()) if step.HasField("ended_at") else ""
        )
        status = word(StepStatus.Name(step.status), "STEP_STATUS_")
        table.add(step.step_path, step.kind, status, step.attempts or "", step.instance_id, took, _why(step))
    return table


def _why(step: Step) -> str:
    if step.blocked_reason:
        return f"{step.blocked_reason}: {step.blocked_message}" if step.blocked_message else step.blocked_reason
    return short(step.failure) if step.HasField("failure") else ""


def _status(execution: Execution) -> str:
    return word(ExecutionStatus.Name(execution.status), "EXECUTION_STATUS_")


def _took(execution: Execution) -> str:
    if not execution.HasField("ended_at"):
        return ""
    return duration(execution.ended_at.ToNanoseconds() - execution.started_at.ToNanoseconds())


def _moment(stamp: Timestamp) -> str:
    """Local time, to the second."""
    return datetime.fromtimestamp(stamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
