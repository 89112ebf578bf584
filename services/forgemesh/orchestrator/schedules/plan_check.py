"""Whether a schedule's plan can work."""

from __future__ import annotations

from collections.abc import Iterator

from forgemesh.faults import Violation
from forgemesh.orchestrator.schedules.schedule import Plan, Target
from forgemesh.orchestrator.schedules.timetable import BadTime, Interval, Timetable, check_cron, check_zone
from forgemesh.orchestrator.values.retry import SECOND

MAX_RULES = 16
MAX_JITTER = 86_400
LONGEST_INTERVAL = 366 * 86_400
SHORTEST_CATCHUP = 10
LONGEST_CATCHUP = 10 * 366 * 86_400
MAX_STARTS = 1_000_000_000
MAX_PRIORITY = 1000
MAX_DESCRIPTION = 1000
MAX_FIELD = 200
LAST_MOMENT = 7_258_118_400 * SECOND
"""2200-01-01T00:00:00Z: what lies behind it is a mistake."""


def check_plan(plan: Plan, now: int) -> list[Violation]:
    """Everything that is wrong with it, as long as nothing has to be asked for it."""
    found = list(_timetable(plan.timetable, now))
    if not found and next(plan.timetable.moments(now), None) is None:
        found.append(Violation("plan.timetable", "no moment of it is still to come within its bounds"))
    found += _target(plan.target)
    found += _between("plan.catchup_window_seconds", plan.catchup_window, SHORTEST_CATCHUP, LONGEST_CATCHUP)
    found += _between("plan.max_starts", plan.max_starts, 0, MAX_STARTS)
    found += _at_most("plan.description", plan.description, MAX_DESCRIPTION)
    return found


def _timetable(timetable: Timetable, now: int) -> Iterator[Violation]:
    place = "plan.timetable"
    rules = len(timetable.crons) + len(timetable.intervals)
    if not 1 <= rules <= MAX_RULES:
        yield Violation(place, f"has {rules} rules; 1 to {MAX_RULES} are needed, in crons and intervals together")
    zone = timetable.zone
    try:
        check_zone(zone)
    except BadTime as error:
        yield Violation(f"{place}.time_zone", str(error))
        zone = ""
    for index, text in enumerate(timetable.crons[:MAX_RULES]):
        try:
            check_cron(text, zone)
        except BadTime as error:
            yield Violation(f"{place}.crons[{index}]", str(error))
    for index, interval in enumerate(timetable.intervals[:MAX_RULES]):
        yield from _interval(f"{place}.intervals[{index}]", interval)
    yield from _between(f"{place}.jitter_seconds", timetable.jitter, 0, MAX_JITTER)
    yield from _bounds(place, timetable, now)


def _interval(place: str, interval: Interval) -> Iterator[Violation]:
    yield from _between(f"{place}.every_seconds", interval.every, 1, LONGEST_INTERVAL)
    if not 0 <= interval.offset < max(1, interval.every):
        message = f"{interval.offset} is not from 0 to less than every_seconds, {interval.every}"
        yield Violation(f"{place}.offset_seconds", message)


def _bounds(place: str, timetable: Timetable, now: int) -> Iterator[Violation]:
    start, end = timetable.start_at, timetable.end_at
    for name, moment in (("start_at", start), ("end_at", end)):
        if not 0 <= moment <= LAST_MOMENT:
            yield Violation(f"{place}.{name}", "must lie between 1970 and 2200")
    if end and start > end:
        yield Violation(f"{place}.end_at", "lies before start_at, so there is no moment between them")
    elif 0 < end <= now:
        yield Violation(f"{place}.end_at", "has passed, so nothing would ever start")


def _target(target: Target) -> Iterator[Violation]:
    place = "plan.target"
    if not target.workflow:
        yield Violation(f"{place}.workflow", "is missing; name a registered workflow")
    yield from _between(f"{place}.priority", target.priority, -MAX_PRIORITY, MAX_PRIORITY)
    yield from _at_most(f"{place}.moment_field", target.moment_field, MAX_FIELD)
    if not target.moment_field:
        return
    try:
        value = target.input.value()
    except ValueError as error:
        yield Violation(f"{place}.input", str(error))
        return
    if not isinstance(value, dict):
        yield Violation(f"{place}.input", "must be a JSON object, so that moment_field can be set in it")
    elif target.moment_field in value:
        yield Violation(f"{place}.moment_field", f"{target.moment_field!r} is in the input already; take it out there")


def _between(place: str, value: int, low: int, high: int) -> Iterator[Violation]:
    if not low <= value <= high:
        yield Violation(place, f"{value} is not between {low} and {high}")


def _at_most(place: str, text: str, length: int) -> Iterator[Violation]:
    if len(text) > length:
        yield Violation(place, f"has {len(text)} characters, at most {length} are kept")
