"""`forgemesh execution checkpoints|fork`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from forgemesh.api.orchestrator.v1.execution_pb2 import ExecutionStatus, StepStatus
from forgemesh.cli.arguments import input_of
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.execution_control import File, Pairs
from forgemesh.cli.follow import say_started
from forgemesh.cli.moment import moment
from forgemesh.cli.selection import find_execution
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import as_values
from forgemesh.client import Client


async def checkpoints(execution: str, /, *, line: Given) -> None:
    """
    List the points from which an execution can be forked, in order of time.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    """
    async with Client.connect(line.address) as mesh:
        handle = await find_execution(mesh, execution, line.namespace)
        found = await handle.checkpoints()
    if line.terminal.json:
        line.terminal.value(as_values({"checkpoints": found}))
        return
    if not found:
        line.terminal.talk(f"no step of execution {handle.id} has ended yet")
        return
    table = Table(("CHECKPOINT", "STEP", "STATUS", "ATTEMPT", "EXECUTION", "TIME"))
    for one in found:
        table.add(
            one.checkpoint_id,
            one.step_path,
            word(StepStatus.Name(one.status), "STEP_STATUS_"),
            one.attempt or "",
            word(ExecutionStatus.Name(one.execution_status), "EXECUTION_STATUS_"),
            moment(one.time),
        )
    line.terminal.table(table)
    line.terminal.talk(f"start again from one with: forgemesh execution fork {handle.id} --from CHECKPOINT")


async def fork(
    execution: str,
    /,
    *,
    checkpoint: Annotated[str, Parameter(name="--from", show_default=False)] = "",
    rerun: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    pairs: Pairs = (),
    file: File = None,
    workflow_version: str | None = None,
    execution_id: str | None = None,
    request_id: str | None = None,
    keep_signals: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Start a new execution with the results that another one had at a checkpoint; that one stays as it is.

    Examples:

        forgemesh execution fork @last --rerun charge -i card=4711

        forgemesh execution fork @last --from 17-9f3ab201 --workflow-version 1.1.0

    Parameters
    ----------
    execution
        The id of the one to start from, a unique beginning of it, ID@RUN, or @last.
    checkpoint
        Take over what it had by then, see `forgemesh execution checkpoints`; all that it has if not given.
    rerun
        Run this step, and what comes after it in its sequence, again. May be repeated.
    pairs
        key=value to change in the input; the value is JSON if it reads as JSON, text otherwise. May be repeated.
    file
        A file with changes to the input as a JSON Merge Patch, or - for stdin.
    workflow_version
        Another version of the workflow; the same one if not given.
    execution_id
        The new execution's id; made up if not given.
    request_id
        Names this request: repeating it gives the same execution and starts nothing.
    keep_signals
        Take over signals that no step had taken by then.
    """
    patch = input_of(pairs, file)
    async with Client.connect(line.address) as mesh:
        origin = await find_execution(mesh, execution, line.namespace)
        forked = await origin.fork(
            checkpoint,
            input_patch=patch,
            rerun_steps=rerun,
            version=workflow_version,
            execution_id=execution_id,
            request_id=request_id,
            keep_signals=keep_signals,
        )
    say_started(forked, line.terminal)
