"""What people type about schedules."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from forgemesh.cli import schedules
from forgemesh.cli.command_line import CommandLine
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.plan_options import PlanOptions
from forgemesh.cli.problem import Problem, problem_of
from forgemesh.cli.terminal import Terminal
from forgemesh.faults.schedule import ScheduleInvalid, ScheduleNotFound
from tests.component.orchestrator.schedules import Running, served_schedules

EACH_MINUTE = PlanOptions(cron=("* * * * *",))


@dataclass
class Screen:
    """Where commands speak."""

    running: Running
    address: str
    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)

    def line(self, *, json: bool = False) -> CommandLine:
        return CommandLine(terminal=Terminal(self.out, self.err, json), address=self.address)

    @property
    def rows(self) -> list[list[str]]:
        return [line.split() for line in self.out.getvalue().splitlines()]

    @property
    def value(self) -> Any:
        return json.loads(self.out.getvalue().splitlines()[-1])


@pytest.fixture
async def screen(tmp_path: Path) -> AsyncIterator[Screen]:
    async with served_schedules(tmp_path) as (running, address):
        yield Screen(running, address)


async def test_a_schedule_is_created_with_the_options_of_its_plan(screen: Screen) -> None:
    options = PlanOptions(
        cron=("30 2 * * *",),
        every=("6h",),
        zone="Europe/Berlin",
        start="2026-12-01",
        end="2027-01-01T00:00Z",
        jitter="5m",
        overlap="buffer-one",
        catchup_window="10m",
        max_starts=3,
        pairs=("n=1",),
        moment_field="day",
        workflow_version="1.0.0",
        priority=2,
        description="reports",
    )
    await schedules.create("nightly", "w", options=options, line=screen.line(json=True))

    plan = screen.value["plan"]
    assert plan["timetable"]["crons"] == ["30 2 * * *"]
    assert plan["timetable"]["intervals"] == [{"every_seconds": "21600"}]
    assert (plan["timetable"]["time_zone"], plan["timetable"]["jitter_seconds"]) == ("Europe/Berlin", "300")
    assert plan["timetable"]["end_at"] == "2027-01-01T00:00:00Z"
    assert plan["overlap_policy"] == "OVERLAP_POLICY_BUFFER_ONE"
    assert (plan["catchup_window_seconds"], plan["max_starts"], plan["description"]) == ("600", "3", "reports")
    assert (plan["target"]["moment_field"], plan["target"]["priority"]) == ("day", 2)


async def test_a_new_schedule_tells_its_next_start_and_how_to_see_it(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, line=screen.line())
    await schedules.create("p", "w", options=EACH_MINUTE, paused=True, line=screen.line())

    assert screen.rows == [["s"], ["p"]]
    talk = screen.err.getvalue().splitlines()
    assert talk[0].startswith("next start 2026-11-2")
    assert talk[0].endswith("see it with: forgemesh schedule show s")
    assert talk[1] == "it is paused; let it go on with: forgemesh schedule resume p"


async def test_a_dry_run_prints_moments_and_creates_nothing(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, dry_run=True, line=screen.line())
    await schedules.list_(line=screen.line())

    assert len(screen.rows) == 10
    assert "no schedules; create one with" in screen.err.getvalue()


async def test_everything_that_is_wrong_is_told_line_by_line(screen: Screen) -> None:
    options = PlanOptions(cron=("61 * * * *",), zone="Berlin")
    with pytest.raises(ScheduleInvalid) as refused:
        await schedules.create("s", "w", options=options, line=screen.line())
    problem = problem_of(refused.value)

    assert problem.exit_code == ExitCode.USAGE
    assert problem.as_text() == (
        "error: the schedule 's' is not valid\n"
        "  plan.timetable.time_zone: 'Berlin' is no time zone of the IANA database, did you mean 'Europe/Berlin'?\n"
        "  plan.timetable.crons[0]: '61 * * * *': minute '61' must be 0 to 59\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PlanOptions(every=("soon",)), "--every 'soon' is not a duration"),
        (PlanOptions(every=("1500ms",)), "--every '1500ms' is not a whole number of seconds"),
        (PlanOptions(every=("9" * 30,)), "is too long"),
        (PlanOptions(start="tomorrow"), "--start 'tomorrow' is no moment"),
        (PlanOptions(pairs=("n",)), "-i 'n' is not key=value"),
    ],
)
async def test_what_cannot_be_read_is_refused_before_anything_is_asked(options: PlanOptions, said: str) -> None:
    nobody = CommandLine(terminal=Terminal(io.StringIO(), io.StringIO()), address="127.0.0.1:1")

    with pytest.raises(Problem) as refused:
        await schedules.create("s", "w", options=options, line=nobody)

    assert said in refused.value.as_text()


async def test_schedules_are_listed_with_what_became_of_their_starts(screen: Screen) -> None:
    await schedules.create("a", "w", options=EACH_MINUTE, line=screen.line())
    await schedules.create("b", "w", options=PlanOptions(every=("6h",)), paused=True, line=screen.line())
    screen.running.clock.advance(60)
    await screen.running.until(lambda schedule: schedule.tally.started == 1, "a")
    screen.out.truncate(0)
    screen.out.seek(0)
    await schedules.list_(line=screen.line())
    first, second = screen.rows[1:]
    await schedules.list_(paused=True, line=screen.line(json=True))

    assert screen.rows[0][:4] == ["SCHEDULE", "WORKFLOW", "WHEN", "STATUS"]
    assert (first[:2], first[7], first[-4:]) == (["a", "w"], "active", ["1", "0", "0", "0"])
    assert " ".join(second).startswith("b w every 6:00:00 paused")
    assert [one["schedule_id"] for one in screen.value["schedules"]] == ["b"]


async def test_a_schedule_shows_its_facts_and_its_decisions(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, line=screen.line())
    screen.running.clock.advance(60)
    await screen.running.until(lambda schedule: schedule.tally.started == 1)
    screen.running.clock.advance(60)
    await screen.running.until(lambda schedule: schedule.tally.skipped == 1)
    await schedules.pause("s", reason="release day", line=screen.line())
    await schedules.show("s", line=screen.line())
    text = screen.out.getvalue()

    assert "s paused" in text
    assert "workflow   w (highest version)" in text
    assert "overlap    skip" in text
    assert "(release day)" in text
    assert "so far     1 started, 1 skipped, 0 missed, 0 refused" in text
    assert "open       s-20261125T120100Z" in text
    assert [row[2:] for row in screen.rows[-2:]] == [
        ["scheduled", "skipped", "-", "OVERLAP"],
        ["scheduled", "started", "s-20261125T120100Z", "-"],
    ]


async def test_a_pause_tells_how_it_ends(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, line=screen.line())
    await schedules.pause("s", line=screen.line())
    await schedules.resume("s", line=screen.line())

    assert screen.rows == [["s"], ["s", "paused"], ["s", "active"]]
    talk = screen.err.getvalue().splitlines()
    assert talk[1] == "let it go on with: forgemesh schedule resume s"
    assert talk[2].startswith("next start ")


async def test_a_trigger_names_the_execution_or_why_there_is_none(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, line=screen.line())
    started = await schedules.trigger("s", line=screen.line())
    skipped = await schedules.trigger("s", overlap="skip", line=screen.line())

    assert (started, skipped) == (ExitCode.OK, ExitCode.REFUSED)
    assert screen.rows[-1] == ["s-20261125T120000Z-manual"]
    assert screen.err.getvalue().splitlines()[-1] == "skipped: OVERLAP; see: forgemesh schedule show s"


async def test_a_backfill_lists_what_it_starts(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, line=screen.line())
    await schedules.backfill("s", start="2026-11-25T11:58Z", end="2026-11-25T11:59Z", line=screen.line())

    assert [row[2:5] for row in screen.rows[-2:]] == [
        ["backfilled", "starting", "s-20261125T115800Z-backfill-20261125T120000Z"],
        ["backfilled", "waiting", "s-20261125T115900Z-backfill-20261125T120000Z"],
    ]


async def test_a_preview_prints_moments_and_starts(screen: Screen) -> None:
    jittered = PlanOptions(cron=("0 * * * *",), jitter="10m", end="2026-11-25T14:30Z")
    await schedules.create("s", "w", options=jittered, line=screen.line())
    await schedules.preview("s", line=screen.line())
    lines = screen.out.getvalue().splitlines()[1:]
    await schedules.preview("s", after="2026-11-25T14:00Z", line=screen.line())
    await schedules.preview("s", count=1, line=screen.line(json=True))

    assert len(lines) == 2
    assert all(":00  starts 2026-" in line for line in lines)
    assert screen.err.getvalue().splitlines()[-1] == "no moment is still to come"
    assert screen.value["moments"][0]["moment"] == "2026-11-25T13:00:00+00:00"


async def test_one_that_is_not_there_cannot_be_deleted(screen: Screen) -> None:
    await schedules.create("s", "w", options=EACH_MINUTE, line=screen.line())
    await schedules.delete("s", line=screen.line())

    with pytest.raises(ScheduleNotFound):
        await schedules.delete("s", line=screen.line())

    assert screen.err.getvalue().splitlines()[-1] == "deleted s"
