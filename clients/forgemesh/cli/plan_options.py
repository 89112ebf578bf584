"""The options that say what a schedule shall do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from forgemesh.cli.arguments import input_of, seconds
from forgemesh.cli.problem import usage
from forgemesh.client.schedule import Interval, Overlap, SchedulePlan

OverlapOption = Literal["skip", "buffer-one", "buffer-all", "cancel-other", "terminate-other", "allow-all"]
_REPEATED = Parameter(negative=(), show_default=False)
_SAID = Parameter(show_default=False)


@Parameter(name="*", group=Group("Plan", sort_key=8))
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """
    A plan as it is typed.

    Parameters
    ----------
    cron
        When: five fields, e.g. "30 2 * * MON-FRI", or @hourly, @daily, @weekly, @monthly. May be repeated.
    every
        When: at a fixed distance, counted from 1970 on, e.g. 15m or 6h. May be repeated.
    zone
        Where the cron rules hold, e.g. Europe/Berlin; UTC if not given.
    start
        The first possible moment, e.g. 2026-12-01 or 2026-12-01T08:00+01:00; local time without an offset.
    end
        The last possible moment.
    jitter
        Start up to so much later, e.g. 5m, so that many schedules do not start at once.
    overlap
        What becomes of a start while an execution that the schedule started is open.
    catchup_window
        Make up for moments that were missed if they are not older, e.g. 10m; a year if not given.
    max_starts
        Be over after so many starts.
    pairs
        key=value of the input; the value is JSON if it reads as JSON, text otherwise. May be repeated.
    file
        A file with the input as JSON, or - for stdin.
    moment_field
        The field of the input that is set to the moment for which the start happens.
    workflow_version
        The version to run; the highest one at the time if not given.
    priority
        Higher goes first where executions compete for an instance.
    description
        For people.
    """

    cron: Annotated[tuple[str, ...], _REPEATED] = ()
    every: Annotated[tuple[str, ...], _REPEATED] = ()
    zone: Annotated[str, _SAID] = ""
    start: str | None = None
    end: str | None = None
    jitter: str | None = None
    overlap: OverlapOption = "skip"
    catchup_window: str | None = None
    max_starts: Annotated[int, _SAID] = 0
    pairs: Annotated[tuple[str, ...], Parameter(name="-i", negative=(), show_default=False)] = ()
    file: Annotated[str | None, Parameter(name="--input")] = None
    moment_field: Annotated[str, _SAID] = ""
    workflow_version: Annotated[str, _SAID] = ""
    priority: Annotated[int, _SAID] = 0
    description: Annotated[str, _SAID] = ""

    def plan(self, workflow: str) -> SchedulePlan:
        """Raises Problem for what cannot be read."""
        return SchedulePlan(
            workflow=workflow,
            version=self.workflow_version,
            input=input_of(self.pairs, self.file),
            moment_field=self.moment_field,
            priority=self.priority,
            crons=self.cron,
            intervals=tuple(Interval(_length(text, "--every") or timedelta()) for text in self.every),
            zone=self.zone,
            start_at=moment_of(self.start, "--start") if self.start is not None else None,
            end_at=moment_of(self.end, "--end") if self.end is not None else None,
            jitter=_length(self.jitter, "--jitter") or timedelta(),
            overlap=overlap_of(self.overlap),
            catchup_window=_length(self.catchup_window, "--catchup-window"),
            max_starts=self.max_starts,
            description=self.description,
        )


UNPLANNED = PlanOptions()


def overlap_of(option: OverlapOption) -> Overlap:
    """As the client names it."""
    known: dict[OverlapOption, Overlap] = {
        "skip": "skip",
        "buffer-one": "buffer_one",
        "buffer-all": "buffer_all",
        "cancel-other": "cancel_other",
        "terminate-other": "terminate_other",
        "allow-all": "allow_all",
    }
    return known[option]


def moment_of(text: str, option: str) -> datetime:
    """A moment in ISO 8601, in local time if it names no offset; raises Problem."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        hint = "write it like 2026-12-01, 2026-12-01T08:00 or 2026-12-01T08:00Z"
        raise usage(f"{option} {text!r} is no moment", hint=hint) from error


def _length(text: str | None, option: str) -> timedelta | None:
    number = seconds(text, option)
    if number is None:
        return None
    if number % 1:
        raise usage(f"{option} {text!r} is not a whole number of seconds", hint="write it like 30s, 5m or 6h")
    try:
        return timedelta(seconds=number)
    except OverflowError as error:
        raise usage(f"{option} {text!r} is too long", hint="write it like 30s, 5m or 6h") from error
