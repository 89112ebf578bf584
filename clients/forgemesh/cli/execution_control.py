"""`forgemesh execution pause|resume|cancel|terminate|signal|resolve|delete`: to one execution, to several, to all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from forgemesh.cli.arguments import input_of
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import problem_of, usage
from forgemesh.cli.progress import counted
from forgemesh.cli.selection import (
    NAMED,
    UNFILTERED,
    Filters,
    Selection,
    check_selection,
    find_execution,
    id_of,
    select,
)
from forgemesh.cli.table import Table
from forgemesh.client import Cancel, Client, Delete, ExecutionFilter, Pause, Resolve, Resume, Signal, Status, Terminate
from forgemesh.client.control import Action, Controlled
from forgemesh.client.status import FINAL, OPEN

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.cli.problem import Problem
    from forgemesh.cli.terminal import Terminal

Pairs = Annotated[tuple[str, ...], Parameter(name="-i", negative=(), show_default=False)]
File = Annotated[str | None, Parameter(name="--input")]

_FOLLOWING = {
    Status.RUNNING: "follow it with: forgemesh execution watch {}",
    Status.QUEUED: "follow it with: forgemesh execution watch {}",
    Status.PAUSING: "what runs comes to its end first; see: forgemesh execution explain {}",
    Status.PAUSED: "let it go on with: forgemesh execution resume {}",
    Status.CANCELLING: "follow it with: forgemesh execution watch {}",
    Status.COMPENSATING: "follow it with: forgemesh execution watch {}",
}
_ENDED = "see how it ended: forgemesh execution show {}"
_POSSIBLE: dict[type[Action], ExecutionFilter] = {
    Pause: ExecutionFilter(statuses=(Status.RUNNING,)),
    Resume: ExecutionFilter(statuses=(Status.PAUSED, Status.PAUSING)),
    Cancel: ExecutionFilter(statuses=OPEN - {Status.COMPENSATING}),
    Terminate: ExecutionFilter(statuses=OPEN),
    Signal: ExecutionFilter(statuses=OPEN - {Status.COMPENSATING}),
    Resolve: ExecutionFilter(incidents_only=True),
    Delete: ExecutionFilter(statuses=FINAL),
}
"""To which executions it can be done; the rest would be refused."""


async def pause(
    *executions: str,
    interrupt: Annotated[bool, switch()] = False,
    hold_clock: Annotated[bool, switch()] = False,
    reason: str = "",
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    Start nothing new in an execution until it is resumed; what runs comes to its end.

    Examples:

        forgemesh execution pause @last --reason "the bank is down"

        forgemesh execution pause --all --workflow billing --yes

    Parameters
    ----------
    executions
        Their ids, unique beginnings of them, ID@RUN, or @last.
    interrupt
        Take back what runs; it is made again after the pause.
    hold_clock
        Let the execution's timeout stand still meanwhile.
    reason
        Why, for the history.
    """
    action = Pause(mode="interrupt" if interrupt else "drain", hold_clock=hold_clock, reason=reason)
    return await _control(executions, filters, selection, action, line)


async def resume(
    *executions: str,
    checkpoint: Annotated[str, Parameter(show_default=False)] = "",
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    Let a paused execution go on.

    Parameters
    ----------
    executions
        Their ids, unique beginnings of them, ID@RUN, or @last.
    checkpoint
        Only if this is still its newest checkpoint.
    """
    action = Resume(checkpoint_id=checkpoint)
    return await _control(executions, filters, selection, action, line)


async def cancel(
    *executions: str,
    reason: str = "",
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    Stop an execution: what runs is taken back, then what it did is undone.

    Parameters
    ----------
    executions
        Their ids, unique beginnings of them, ID@RUN, or @last.
    reason
        Why, for the history.
    """
    return await _control(executions, filters, selection, Cancel(reason=reason), line)


async def terminate(
    *executions: str,
    reason: str = "",
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    End an execution at once; nothing is undone.

    Parameters
    ----------
    executions
        Their ids, unique beginnings of them, ID@RUN, or @last.
    reason
        Why, for the history.
    """
    return await _control(executions, filters, selection, Terminate(reason=reason), line)


async def delete(
    *executions: str,
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    Forget an execution that has ended, with its history.

    Examples:

        forgemesh execution delete --all --status succeeded --before 30d

    Parameters
    ----------
    executions
        Their ids, unique beginnings of them, ID@RUN, or @last.
    """
    return await _control(executions, filters, selection, Delete(), line)


async def signal(
    *words: str,
    pairs: Pairs = (),
    file: File = None,
    signal_id: Annotated[str, Parameter(show_default=False)] = "",
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    Send a signal to an execution; it is kept until a step waits for it.

    Examples:

        forgemesh execution signal @last approved -i by=ana

        forgemesh execution signal --all approved --workflow order --yes

    Parameters
    ----------
    words
        The execution and the signal's name; with --all only the name.
    pairs
        key=value of what comes with it; the value is JSON if it reads as JSON, text otherwise. May be repeated.
    file
        A file with what comes with it as JSON, or - for stdin.
    signal_id
        Names this signal: sending it again changes nothing.
    """
    named, name = _thing(words, selection, "signal", "NAME")
    action = Signal(name=name, payload=input_of(pairs, file), signal_id=signal_id)
    if selection.everything:
        return await _control((), filters, selection, action, line)
    check_selection(named, filters, selection, "signal")
    async with Client.connect(line.address) as mesh:
        execution = await find_execution(mesh, named[0], line.namespace)
        received = await execution.signal(name, action.payload, signal_id=signal_id)
    if line.terminal.json:
        said = {"execution_id": execution.id, "signal": name, "received": received}
        line.terminal.value(said | _run(execution.run_id))
    else:
        line.terminal.data(f"{execution.id} {'has the signal' if received else 'had this signal before'}")
        say_run(execution.run_id, line.terminal)
    return ExitCode.OK


async def resolve(
    *words: str,
    action: Literal["retry", "complete", "fail"] | None = None,
    pairs: Pairs = (),
    file: File = None,
    reason: str = "",
    filters: Filters = UNFILTERED,
    selection: Selection = NAMED,
    line: Given,
) -> int:
    """
    Decide about a step that waits for a person.

    Examples:

        forgemesh execution resolve @last charge --action retry -i card=4711

        forgemesh execution resolve --all charge --action retry --workflow order

    Parameters
    ----------
    words
        The execution and the step's path; with --all only the step.
    action
        retry: it is tried again; complete: it counts as succeeded; fail: it counts as failed.
    pairs
        key=value of another input for a retry, or of the output of a completion. May be repeated.
    file
        A file with that input or output as JSON, or - for stdin.
    reason
        Why, for the history.
    """
    named, step = _thing(words, selection, "resolve", "STEP")
    if action is None:
        place = " ".join(("forgemesh execution resolve", *(named or ["--all"]), step, "--action"))
        choices = (("retry", "tried again"), ("complete", "counted as succeeded"), ("fail", "counted as failed"))
        details = [f"{place} {word:<9} it is {meaning}" for word, meaning in choices]
        raise usage(f"what shall become of step {step!r}?", *details)
    decision = Resolve(step_path=step, action=action, payload=input_of(pairs, file), reason=reason)
    return await _control(named, filters, selection, decision, line)


def _thing(words: Sequence[str], selection: Selection, command: str, noun: str) -> tuple[Sequence[str], str]:
    """The execution, if one is named, and what comes behind it."""
    place = f"forgemesh execution {command}"
    if selection.everything and len(words) == 1:
        return (), words[0]
    if selection.everything or len(words) != 2:
        raise usage(f"{command} takes an execution and a {noun}", hint=f"{place} ID {noun}, or {place} --all {noun}")
    return words[:1], words[1]


async def _control(
    named: Sequence[str],
    filters: Filters,
    selection: Selection,
    action: Action,
    line: CommandLine,
) -> int:
    """Do it, and tell what became of it."""
    check_selection(named, filters, selection, action.verb)
    async with Client.connect(line.address) as mesh:
        ids = await select(mesh, named, filters, selection, action.verb, _POSSIBLE[type(action)], line)
        outcome = await mesh.control_many(ids, action, namespace=line.namespace)
        if selection.everything or len(ids) > 1:
            return _tell_all(outcome, ids, line)
        for fault in outcome.refused.values():
            raise fault
        await _tell_one(mesh, ids[0], outcome.runs.get(ids[0], ""), action, line)
    return ExitCode.OK


async def _tell_one(mesh: Client, reference: str, run_id: str, action: Action, line: CommandLine) -> None:
    if isinstance(action, Delete):
        if line.terminal.json:
            line.terminal.value({"execution_id": id_of(reference), "deleted": True} | _run(run_id))
        else:
            line.terminal.data(f"{id_of(reference)} deleted")
            say_run(run_id, line.terminal)
        return
    say_standing((await mesh.execution(reference, namespace=line.namespace)).last_seen, line.terminal)


def say_standing(execution: Execution, terminal: Terminal) -> None:
    """Where an execution stands now, and what to type next."""
    if terminal.json:
        terminal.message(execution)
        return
    status = Status.of(execution)
    terminal.data(f"{execution.execution_id} {status}")
    say_run(execution.run_id, terminal)
    terminal.talk(_FOLLOWING.get(status, _ENDED).format(execution.execution_id))


def say_run(run_id: str, terminal: Terminal) -> None:
    """Which run of an id it was; nothing if that is not known."""
    if run_id:
        terminal.talk(f"it is run {run_id}")


def _run(run_id: str) -> dict[str, Any]:
    return {"run_id": run_id} if run_id else {}


def _tell_all(outcome: Controlled, ids: Sequence[str], line: CommandLine) -> int:
    """A row for each; what was refused to one is told and makes the command fail."""
    problems = {execution_id: problem_of(fault) for execution_id, fault in outcome.refused.items()}
    if line.terminal.json:
        results = [
            {"execution_id": id_of(one)} | _run(outcome.runs.get(one, "")) | _refusal(problems.get(one)) for one in ids
        ]
        line.terminal.value({"results": results})
    elif ids:
        runs = ("RUN",) if outcome.runs else ()
        table = Table(("EXECUTION", *runs, "OUTCOME", "WHY"))
        for one in ids:
            problem = problems.get(one)
            run = (outcome.runs.get(one, ""),) if runs else ()
            table.add(id_of(one), *run, "refused" if problem else "done", problem.message if problem else "")
        line.terminal.table(table)
        refused = f", {len(problems)} refused" if problems else ""
        line.terminal.talk(f"{counted(len(ids) - len(problems), 'execution')} done{refused}")
    return ExitCode.REFUSED if problems else ExitCode.OK


def _refusal(problem: Problem | None) -> dict[str, Any]:
    return {"error": problem.as_value()} if problem else {}
