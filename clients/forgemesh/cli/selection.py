"""Which executions a command is about: by name, or by filter and with a confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import Group, Parameter

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import CommandLine, switch
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.progress import counted
from forgemesh.cli.table import Table
from forgemesh.client import Client, ExecutionFilter, ExecutionHandle, Status
from forgemesh.faults.workflow import ExecutionNotFound

LAST = "@last"
_SEARCHED = 5000
_SHOWN_MATCHES = 5
_MOST = 10_000
_REPEATED = Parameter(negative=(), show_default=False)
_SAID = Parameter(show_default=False)


@Parameter(name="*", group=Group("Filters", sort_key=8))
@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """
    The options that choose executions; each one narrows the choice.

    Parameters
    ----------
    workflow
        Only executions of this workflow. May be repeated.
    workflow_version
        Only executions of this version.
    status
        Only executions that stand there. May be repeated.
    open_only
        Only executions that have not ended.
    incidents
        Only executions in which a step waits for a person.
    since
        Only executions that started within this time, e.g. 90s, 1h or 7d.
    before
        Only executions that started longer ago than that.
    id_prefix
        Only executions whose id begins so.
    parent
        Only executions that a step of this execution started; ID@RUN tells it from others that had its id.
    schedule
        Only executions that this schedule started; ID@INCARNATION tells it from others that had its id.
    concurrency_key
        Only executions with this concurrency key.
    """

    workflow: Annotated[tuple[str, ...], _REPEATED] = ()
    workflow_version: Annotated[str, _SAID] = ""
    status: Annotated[tuple[Status, ...], _REPEATED] = ()
    open_only: Annotated[bool, switch("--open")] = False
    incidents: Annotated[bool, switch()] = False
    since: str | None = None
    before: str | None = None
    id_prefix: Annotated[str, _SAID] = ""
    parent: Annotated[str, _SAID] = ""
    schedule: Annotated[str, _SAID] = ""
    concurrency_key: Annotated[str, _SAID] = ""

    def filter(self, now: datetime) -> ExecutionFilter:
        """What the mesh is asked for; raises Problem if a time is none."""
        return ExecutionFilter(
            workflows=self.workflow,
            workflow_version=self.workflow_version,
            statuses=self.status,
            open_only=self.open_only,
            incidents_only=self.incidents,
            id_prefix=self.id_prefix,
            started_from=_earlier(now, self.since, "--since"),
            started_before=_earlier(now, self.before, "--before"),
            parent_execution_id=self.parent,
            schedule_id=self.schedule,
            concurrency_key=self.concurrency_key,
        )

    def said(self) -> list[str]:
        """The fields that say anything."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]


@Parameter(name="*", group=Group("Many at once", sort_key=7))
@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """
    Whether a command is about all executions that a filter fits.

    Parameters
    ----------
    everything
        All executions that the options fit and that it can be done to, instead of those that are named.
    yes
        Do not ask before it is done to all of them.
    """

    everything: Annotated[bool, switch("--all")] = False
    yes: Annotated[bool, switch()] = False


UNFILTERED = Filters()
NAMED = Selection()


def check_selection(named: Sequence[str], filters: Filters, selection: Selection, command: str) -> None:
    """Raises Problem unless executions are either named or chosen with --all."""
    place = f"forgemesh execution {command}"
    if selection.everything and named:
        raise usage("executions are named and --all is said", hint="leave out one of them")
    if not selection.everything and not named:
        raise usage("no execution is named", hint=f"{place} ID, or {place} --all with filters")
    if not selection.everything and filters.said():
        raise usage("filters are for --all", hint=f"{place} --all with filters, or {place} ID without")


async def select(
    mesh: Client,
    named: Sequence[str],
    filters: Filters,
    selection: Selection,
    verb: str,
    possible: ExecutionFilter,
    line: CommandLine,
) -> list[str]:
    """
    The executions that a command is about, as ID@RUN, once whoever is there has confirmed it.

    `possible` are the executions to which `verb` can be done; statuses that people name count instead of its own.
    Raises Problem if it is not confirmed.
    """
    if not selection.everything:
        return [(await find_execution(mesh, one, line.namespace)).reference for one in named]
    chosen = filters.filter(datetime.now(UTC))
    where = replace(
        chosen,
        statuses=chosen.statuses or possible.statuses,
        incidents_only=chosen.incidents_only or possible.incidents_only,
    )
    found = await mesh.list_executions(where, order="started_ascending", limit=_MOST, namespace=line.namespace)
    if not found:
        line.terminal.talk(f"there is nothing to {verb}: no execution fits")
        return []
    if len(found) == _MOST:
        line.terminal.talk(f"these are the oldest {_MOST}; there may be more, so say it again afterwards")
    if not selection.yes:
        _confirm(found, verb, line)
    return [reference_of(execution) for execution in found]


def reference_of(execution: Execution) -> str:
    """ID@RUN, as all commands take it: it means this execution, also once another one has its id."""
    return f"{execution.execution_id}@{execution.run_id}" if execution.run_id else execution.execution_id


def id_of(reference: str) -> str:
    """The id in what may be ID@RUN."""
    return reference.partition("@")[0]


def _confirm(found: Sequence[Execution], verb: str, line: CommandLine) -> None:
    what = f"{verb} {counted(len(found), 'execution')}"
    if not line.terminal.can_ask():
        raise usage(f"--all would {what}, and nobody is there to confirm it", hint="say --yes too")
    table = Table(("EXECUTION", "WORKFLOW", "STATUS"))
    for execution in found[:_SHOWN_MATCHES]:
        table.add(execution.execution_id, execution.workflow, Status.of(execution))
    more = len(found) - _SHOWN_MATCHES
    line.terminal.talk(*table.lines(), *([f"... and {more} more"] if more > 0 else []))
    if not line.terminal.ask(f"{what}? [y/N]"):
        raise Problem(
            ExitCode.REFUSED, "nothing was done: it was not confirmed", reason="NOT_CONFIRMED", code="CANCELLED"
        )


async def find_execution(mesh: Client, named: str, namespace: str) -> ExecutionHandle:
    """
    The execution of this id, that run of it (ID@RUN), the newest one (@last), or the one whose id begins so.

    Raises ExecutionNotFound, or Problem if several ids begin so.
    """
    if named == LAST:
        newest = await mesh.list_executions(limit=1, namespace=namespace)
        if not newest:
            raise ExecutionNotFound(LAST)
        return await mesh.execution(reference_of(newest[0]), namespace=namespace)
    try:
        return await mesh.execution(named, namespace=namespace)
    except ExecutionNotFound:
        matches = await _beginning_with(mesh, named, namespace) if "@" not in named else []
        if not matches:
            raise
    if len(matches) > 1:
        more = ["..."] if len(matches) > _SHOWN_MATCHES else []
        raise usage(
            f"{len(matches)} executions begin with {named!r}",
            *(id_of(one) for one in matches[:_SHOWN_MATCHES]),
            *more,
            hint="write more of the id",
            reason="AMBIGUOUS_ID",
        )
    return await mesh.execution(matches[0], namespace=namespace)


async def _beginning_with(mesh: Client, prefix: str, namespace: str) -> list[str]:
    where = ExecutionFilter(id_prefix=prefix)
    return [reference_of(one) for one in await mesh.list_executions(where, limit=_SEARCHED, namespace=namespace)]


def _earlier(now: datetime, text: str | None, option: str) -> datetime | None:
    length = seconds(text, option)
    return None if length is None else now - timedelta(seconds=length)
