"""The moments of a schedule: cron rules in a time zone, intervals, bounds and jitter."""

from __future__ import annotations

import difflib
import hashlib
import heapq
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise

from cronsim import CronSim, CronSimError

from forgemesh.orchestrator.values.retry import SECOND

LONGEST_CRON = 200
"""Characters."""
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L or LW, in a month that has such a day",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT",
}
_SAMPLE = datetime(2024, 1, 1, tzinfo=UTC)
"""From where on a rule has to come up at least once in 50 years."""


class BadTime(ValueError):
    """A rule or a zone that does not exist; the text says what about it is wrong."""


def zone_of(name: str) -> tzinfo:
    """The time zone of a name that `check_zone` has passed."""
    return UTC if name in ("", "UTC") else zoneinfo.ZoneInfo(name)


@dataclass(frozen=True, slots=True)
class Cron:
    """
    Five fields, or one of the nicknames of crontab(5), read as Debian's cron does.

    Around a change of the clocks: a rule with a fixed minute and hour whose time is left out runs at the first moment
    after the gap, and one whose time comes twice runs the first time only. A rule with `*` in minute or hour follows
    the time that really passes.
    """

    text: str
    zone: str = ""

    def after(self, moment: int) -> Iterator[int]:
        """Every moment after the given one, in order."""
        begin = datetime.fromtimestamp(moment // SECOND, zone_of(self.zone))
        last = moment
        for found in CronSim(_expanded(self.text), begin):
            at = int(found.timestamp()) * SECOND
            # The library goes by the clock on the wall: what a change of the clocks folds together comes up twice.
            if at > last:
                yield at
                last = at


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, counted from the Unix epoch and moved by `offset` seconds."""

    every: int
    offset: int = 0

    def after(self, moment: int) -> Iterator[int]:
        """Every moment after the given one, in order."""
        step, offset = self.every * SECOND, self.offset * SECOND
        at = (moment - offset) // step * step + offset
        while True:
            at += step
            yield at


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """
    All moments of its rules together, from `start_at` to `end_at` (Unix nanoseconds, 0: no bound), both included.

    `jitter`: each moment is due up to so many seconds later, and always before the next one.
    """

    crons: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()
    zone: str = ""
    start_at: int = 0
    end_at: int = 0
    jitter: int = 0

    def moments(self, after: int) -> Iterator[int]:
        """Every moment after the given one, in order, each once."""
        begin = max(after, self.start_at - 1)
        crons = [Cron(text, self.zone).after(begin) for text in self.crons]
        intervals = [interval.after(begin) for interval in self.intervals]
        last = begin
        for moment in heapq.merge(*crons, *intervals):
            if self.end_at and moment > self.end_at:
                return
            if moment > last:
                yield moment
                last = moment

    def dues(self, after: int, seed: str) -> Iterator[tuple[int, int]]:
        """Every moment after the given one with the time at which it is due; `seed` tells one schedule's jitter."""
        if not self.jitter:
            yield from ((moment, moment) for moment in self.moments(after))
            return
        last = None
        for moment, following in pairwise(self.moments(after)):
            yield moment, self._due(moment, following, seed)
            last = following
        if last is None:
            last = next(self.moments(after), None)
        if last is not None:
            yield last, self._due(last, last + self.jitter * SECOND, seed)

    def _due(self, moment: int, following: int, seed: str) -> int:
        digest = hashlib.sha256(f"{seed}\0{moment}".encode()).digest()
        room = min(self.jitter * SECOND, following - moment)
        return moment + room * int.from_bytes(digest[:4]) // (1 << 32)


def check_zone(name: str) -> None:
    """Raises BadTime for what is no name of the IANA database; empty stands for UTC."""
    known = zoneinfo.available_timezones() - {"localtime"}
    if not name or name in known:
        return
    by_lower_case = {zone.lower(): zone for zone in known}
    close = difflib.get_close_matches(name[:80].lower(), by_lower_case, n=1)
    hint = f"did you mean {by_lower_case[close[0]]!r}?" if close else "write it like 'Europe/Berlin' or 'UTC'"
    raise BadTime(f"{name[:80]!r} is no time zone of the IANA database, {hint}")


def check_cron(text: str, zone: str) -> None:
    """Raises BadTime for a rule that cannot be read, or that never comes up in a zone."""
    if len(text) > LONGEST_CRON:
        raise BadTime(f"has {len(text)} characters, the longest rule has {LONGEST_CRON}")
    if text.strip().startswith("@") and _expanded(text) == text:
        raise BadTime(f"{text!r} is none of {', '.join(NICKNAMES)}; for `@every` take an interval")
    fields = _expanded(text).split()
    if len(fields) != len(_FIELDS):
        raise BadTime(f"{text!r} has {len(fields)} fields; it needs five: {' '.join(_FIELDS)}")
    try:
        found = next(CronSim(_expanded(text), _SAMPLE.astimezone(zone_of(zone))), None)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        wrong = fields[list(_FIELDS).index(name)]
        raise BadTime(f"{text!r}: {name} {wrong!r} must be {_FIELDS[name]}") from error
    if found is None:
        raise BadTime(f"{text!r} never comes up in 50 years")


def _expanded(text: str) -> str:
    return NICKNAMES.get(text.strip().lower(), text)
