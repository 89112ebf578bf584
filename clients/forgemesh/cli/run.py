"""`forgemesh run`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from forgemesh.cli.arguments import input_of, seconds, source_of
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.follow import follow_to_end, say_started
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_address import address_for_spans
from forgemesh.client import Client
from forgemesh.client.peer import PATIENCE
from forgemesh.client.start import IdConflict, IdReuse
from forgemesh.client.tracing import run_span

_REUSE: dict[str, IdReuse] = {
    "never": "reject_duplicate",
    "ended": "allow_duplicate",
    "failed": "allow_duplicate_failed_only",
}
_CONFLICT: dict[str, IdConflict] = {"refuse": "fail", "use": "use_existing", "terminate": "terminate_existing"}


async def run(
    target: str,
    /,
    *,
    pairs: Annotated[tuple[str, ...], Parameter(name="-i", negative=(), show_default=False)] = (),
    file: Annotated[str | None, Parameter(name="--input")] = None,
    detach: Annotated[bool, switch()] = False,
    timeout: str | None = None,
    workflow_version: str | None = None,
    execution_id: str | None = None,
    request_id: str | None = None,
    id_reuse: Literal["never", "ended", "failed"] = "never",
    id_conflict: Literal["refuse", "use", "terminate"] = "refuse",
    priority: int = 0,
    paused: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Run a workflow and wait for its result: progress on stderr, the result as JSON on stdout.

    Ctrl-C stops waiting, never the execution.

    Examples:

        forgemesh run examples/weather/workflow.yaml -i path=seattle.csv

        forgemesh run weather-report --input input.json --timeout 2m

    Parameters
    ----------
    target
        A YAML or JSON file with a definition, which is registered first, or the name of a registered workflow.
    pairs
        key=value of the input; the value is JSON if it reads as JSON, text otherwise. May be repeated.
    file
        A file with the input as JSON, or - for stdin.
    detach
        Print the execution's id once it is started, and leave it alone.
    timeout
        Wait at most so long, e.g. 30s or 2m; the execution goes on.
    workflow_version
        The version to run; the highest one if not given.
    execution_id
        The execution's id; made up if not given.
    request_id
        Names this request: repeating it gives the same execution and starts nothing. A mesh that is away is then
        waited for, 30 seconds.
    id_reuse
        When the id of another execution may be used again: never, once it has ended, or once it has ended badly.
    id_conflict
        What to do if an execution of this id is open: refuse, use it, or terminate it and start anew.
    priority
        From -1000 to 1000; higher goes first where executions compete for an instance.
    paused
        Start it paused: nothing of it runs until it is resumed.
    """
    source, value, wait = source_of(target), input_of(pairs, file), seconds(timeout, "--timeout")
    async with Client.connect(line.address, patience=PATIENCE if request_id else 0.0) as mesh:
        name = target
        if source is not None:
            definition = await mesh.register(source, namespace=line.namespace)
            name, workflow_version = definition.name, workflow_version or definition.version
        traces = await address_for_spans(mesh)
        async with run_span(name, traces) as span:
            execution = await mesh.start(
                name,
                value,
                execution_id=execution_id,
                request_id=request_id,
                version=workflow_version,
                namespace=line.namespace,
                id_reuse=_REUSE[id_reuse],
                id_conflict=_CONFLICT[id_conflict],
                priority=priority,
                paused=paused,
                traceparent=span.traceparent,
            )
            span.started(execution.id, execution.trace_id)
            if detach:
                say_started(execution, line.terminal)
                return
            line.terminal.talk(f"▶ {name} {execution.id}  trace {execution.trace_id}")
            try:
                await follow_to_end(execution, line.terminal, wait)
            except Problem as problem:
                span.failed(problem.reason, problem.message)
                raise
