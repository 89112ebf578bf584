"""`forgemesh schedule create|list|show|pause|resume|trigger|backfill|delete|preview`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.plan_options import UNPLANNED, OverlapOption, PlanOptions, moment_of, overlap_of
from forgemesh.cli.table import Table
from forgemesh.cli.terminal import Terminal, as_values
from forgemesh.client import Client, Schedule, SchedulePlan, ScheduleRun
from forgemesh.client.schedule import Interval, ScheduleMoment
from forgemesh.faults.schedule import ScheduleNotFound

_LABEL = 10
_SHOWN_NEXT = 3


async def create(
    schedule: str,
    workflow: str,
    /,
    *,
    options: PlanOptions = UNPLANNED,
    paused: Annotated[bool, switch()] = False,
    dry_run: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Create a schedule that starts a workflow by itself.

    Examples:

        forgemesh schedule create nightly weather-report --cron "30 2 * * *" --zone Europe/Berlin -i path=seattle.csv

        forgemesh schedule create poll inbox --every 5m --overlap buffer-one

    Parameters
    ----------
    schedule
        Its id.
    workflow
        The name of a registered workflow.
    paused
        Start nothing by the timetable until it is resumed.
    dry_run
        Check everything, print the next moments, and create nothing.
    """
    plan = options.plan(workflow)
    async with Client.connect(line.address) as mesh:
        if dry_run:
            _moments(await mesh.schedules.preview(schedule, plan=plan, namespace=line.namespace), line.terminal)
            return
        reason = "it was created paused" if paused else None
        created = await mesh.schedules.create(schedule, plan, paused=reason, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.message(created.message)
        return
    line.terminal.data(created.id)
    if created.pause is not None:
        line.terminal.talk(f"it is paused; let it go on with: forgemesh schedule resume {created.id}")
    else:
        line.terminal.talk(f"{_next(created)}; see it with: forgemesh schedule show {created.id}")


async def list_(
    *,
    workflow: str = "",
    paused: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    List schedules by id.

    Parameters
    ----------
    workflow
        Only schedules of this workflow.
    paused
        Only schedules that are paused.
    """
    async with Client.connect(line.address) as mesh:
        found = await mesh.schedules.list(workflow=workflow, paused_only=paused, namespace=line.namespace)
        damaged = await mesh.schedules.damaged(namespace=line.namespace)
    if line.terminal.json:
        line.terminal.value(as_values({"schedules": [schedule.message for schedule in found]}) | {"damaged": damaged})
        return
    for said in damaged:
        line.terminal.talk(said)
    if not found:
        line.terminal.talk("no schedules; create one with: forgemesh schedule create ID WORKFLOW --cron '0 2 * * *'")
        return
    table = Table(("SCHEDULE", "WORKFLOW", "WHEN", "STATUS", "NEXT", "LAST", "STARTED", "SKIPPED", "MISSED", "REFUSED"))
    for schedule in found:
        tally = schedule.tally
        table.add(
            schedule.id,
            schedule.plan.workflow,
            _rules(schedule.plan),
            _status(schedule),
            _at(schedule.next_moments[0].due) if schedule.next_moments else "",
            _at(schedule.last_started_at) if schedule.last_started_at else "",
            tally.started,
            tally.skipped,
            tally.missed,
            tally.refused,
        )
    line.terminal.table(table)


async def show(schedule: str, /, *, line: Given) -> None:
    """
    Show one schedule and what it decided last.

    Parameters
    ----------
    schedule
        Its id.
    """
    async with Client.connect(line.address) as mesh:
        found = await mesh.schedules.get(schedule, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.message(found.message)
        return
    for name, value in _facts(found):
        line.terminal.data(f"{name:<{_LABEL}} {value}")
    if found.waiting or found.recent:
        line.terminal.data("")
        line.terminal.table(_runs((*reversed(found.waiting), *found.recent)))


async def pause(schedule: str, /, *, reason: str = "", line: Given) -> None:
    """
    Skip the moments that come, and hold what waits, until the schedule is resumed.

    Parameters
    ----------
    schedule
        Its id.
    reason
        Why, for those who look at it.
    """
    async with Client.connect(line.address) as mesh:
        paused = await mesh.schedules.pause(schedule, reason, namespace=line.namespace)
    _say(paused, f"let it go on with: forgemesh schedule resume {schedule}", line)


async def resume(schedule: str, /, *, line: Given) -> None:
    """
    Let a paused schedule go on.

    Parameters
    ----------
    schedule
        Its id.
    """
    async with Client.connect(line.address) as mesh:
        resumed = await mesh.schedules.resume(schedule, namespace=line.namespace)
    _say(resumed, _next(resumed), line)


async def trigger(
    schedule: str,
    /,
    *,
    overlap: OverlapOption | None = None,
    request_id: str | None = None,
    line: Given,
) -> int:
    """
    Start a schedule's workflow once, now, also while it is paused. Exits with 4 if nothing starts.

    Parameters
    ----------
    schedule
        Its id.
    overlap
        What to do if an execution that it started is open; what the schedule says if not given.
    request_id
        Names this request: repeating it starts nothing.
    """
    policy = overlap_of(overlap) if overlap is not None else None
    async with Client.connect(line.address) as mesh:
        run = await mesh.schedules.trigger(schedule, overlap=policy, request_id=request_id, namespace=line.namespace)
    happens = run.state in ("waiting", "starting", "started")
    if line.terminal.json:
        line.terminal.message(run.message)
    elif happens:
        line.terminal.data(run.execution_id)
        line.terminal.talk(f"{run.state}; see it with: forgemesh execution watch {run.execution_id}")
    else:
        line.terminal.talk(f"{run.state}: {_why(run)}; see: forgemesh schedule show {schedule}")
    return ExitCode.OK if happens else ExitCode.REFUSED


async def backfill(
    schedule: str,
    /,
    *,
    start: Annotated[str, Parameter(name="--from")],
    end: Annotated[str, Parameter(name="--to")],
    overlap: OverlapOption = "buffer-all",
    request_id: str | None = None,
    line: Given,
) -> None:
    """
    Start a schedule's workflow for each of its moments in a range of the past, also for those that it has started.

    Examples:

        forgemesh schedule backfill nightly --from 2026-11-01 --to 2026-11-07

    Parameters
    ----------
    schedule
        Its id.
    start
        The first possible moment, e.g. 2026-11-01 or 2026-11-01T08:00+01:00; local time without an offset.
    end
        The last possible moment.
    overlap
        What to do if an execution that the schedule started is open.
    request_id
        Names this request: repeating it starts nothing.
    """
    first, last = moment_of(start, "--from"), moment_of(end, "--to")
    async with Client.connect(line.address) as mesh:
        runs = await mesh.schedules.backfill(
            schedule, first, last, overlap=overlap_of(overlap), request_id=request_id, namespace=line.namespace
        )
    if line.terminal.json:
        line.terminal.value(as_values({"runs": [run.message for run in runs]}))
        return
    line.terminal.table(_runs(runs))
    line.terminal.talk(f"follow them with: forgemesh schedule show {schedule}")


async def delete(schedule: str, /, *, line: Given) -> None:
    """
    Forget a schedule and what waits in it. Executions that it started go on.

    Parameters
    ----------
    schedule
        Its id.
    """
    async with Client.connect(line.address) as mesh:
        if not await mesh.schedules.delete(schedule, namespace=line.namespace):
            raise ScheduleNotFound(schedule)
    if line.terminal.json:
        line.terminal.value({"deleted": True})
        return
    line.terminal.talk(f"deleted {schedule}")


async def preview(schedule: str, /, *, count: int = 10, after: str | None = None, line: Given) -> None:
    """
    Print the next moments of a schedule; starts nothing. For one that does not exist yet: schedule create --dry-run.

    Parameters
    ----------
    schedule
        Its id.
    count
        So many, at most 1,000.
    after
        Count from there, e.g. 2026-12-01; from now if not given.
    """
    begin = moment_of(after, "--after") if after is not None else None
    async with Client.connect(line.address) as mesh:
        found = await mesh.schedules.preview(schedule, after=begin, count=count, namespace=line.namespace)
    _moments(found, line.terminal)


def _say(schedule: Schedule, following: str, line: CommandLine) -> None:
    if line.terminal.json:
        line.terminal.message(schedule.message)
        return
    line.terminal.data(f"{schedule.id} {_status(schedule)}")
    line.terminal.talk(following)


def _moments(moments: Sequence[ScheduleMoment], terminal: Terminal) -> None:
    if terminal.json:
        terminal.value({"moments": [{"moment": one.moment.isoformat(), "due": one.due.isoformat()} for one in moments]})
        return
    for one in moments:
        terminal.data(_at(one.moment) if one.moment == one.due else f"{_at(one.moment)}  starts {_at(one.due)}")
    if not moments:
        terminal.talk("no moment is still to come")


def _facts(schedule: Schedule) -> Iterator[tuple[str, str]]:
    plan, tally = schedule.plan, schedule.tally
    yield "schedule", schedule.id
    yield "workflow", f"{plan.workflow} {plan.version or '(highest version)'}"
    if plan.description:
        yield "for", plan.description
    yield "when", _rules(plan)
    yield "overlap", plan.overlap.replace("_", " ")
    yield "status", _status(schedule)
    if schedule.pause is not None:
        by, reason = schedule.pause.by, schedule.pause.reason
        yield (
            "paused",
            " ".join(part for part in (_at(schedule.pause.at), by and f"by {by}", reason and f"({reason})") if part),
        )
    for moment in schedule.next_moments[:_SHOWN_NEXT]:
        yield "next", _at(moment.due)
    if schedule.last_started_at is not None:
        yield "last", _at(schedule.last_started_at)
    counted = f"{tally.started} started, {tally.skipped} skipped, {tally.missed} missed, {tally.refused} refused"
    yield "so far", f"{counted}, of {plan.max_starts}" if plan.max_starts else counted
    for execution_id in schedule.open_execution_ids:
        yield "open", execution_id


def _runs(runs: Sequence[ScheduleRun]) -> Table:
    table = Table(("MOMENT", "BECAUSE", "STATE", "EXECUTION", "WHY"))
    for run in runs:
        shown = run.execution_id if run.state in ("waiting", "starting", "started") else ""
        table.add(_at(run.moment), run.occasion, run.state, shown, _why(run))
    return table


def _why(run: ScheduleRun) -> str:
    return f"{run.reason}: {run.error}" if run.error else run.reason


def _rules(plan: SchedulePlan) -> str:
    rules = [*plan.crons, *(_interval(one) for one in plan.intervals)]
    return "; ".join(rules) + (f" ({plan.zone})" if plan.zone and plan.crons else "")


def _interval(interval: Interval) -> str:
    return f"every {interval.every}" + (f" +{interval.offset}" if interval.offset else "")


def _status(schedule: Schedule) -> str:
    if schedule.pause is not None:
        return "paused"
    return "active" if schedule.next_moments else "over"


def _next(schedule: Schedule) -> str:
    return f"next start {_at(schedule.next_moments[0].due)}" if schedule.next_moments else "no moment is still to come"


def _at(moment: datetime) -> str:
    """Local time, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
