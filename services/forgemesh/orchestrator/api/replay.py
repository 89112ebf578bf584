"""An exported execution told event by event, offline: `python -m forgemesh.orchestrator.api.replay FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from forgemesh.chassis.foreign_text import printable, printable_json
from forgemesh.faults import Fault
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.event_text import kind_of, told
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.fold import restore
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.store.events import event_from_message, event_to_message
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.definition_text import read_definition

_DAMAGE = (ValueError, KeyError, IndexError, AssertionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One event with the state after it: the status of every step that is open, how many have ended, and how."""

    sequence: int
    offset: float
    step_path: str
    kind: str
    what: str
    status: str
    open: dict[str, str]
    ended: dict[str, int]

    def as_json(self) -> str:
        """A line of JSON for programs; `offset` in seconds since the execution's start."""
        return printable_json(json.dumps(asdict(self), ensure_ascii=False))

    def as_text(self) -> str:
        """Two lines for people."""
        place = f"{self.step_path}: " if self.step_path else ""
        going = [f"{path} {status}" for path, status in self.open.items()]
        over = [f"{number} {status}" for status, number in self.ended.items()]
        after = "; ".join(filter(None, (self.status, ", ".join(going), ", ".join(over))))
        lines = (f"{self.sequence:>5} {self.offset:>+12.3f} s  {place}{self.what}", f"{'':>22}= {after}")
        return "\n".join(map(printable, lines))


class Tape:
    """A file's execution; raises DataCorrupted or ArchiveUnreadable for what cannot be played."""

    def __init__(self, data: bytes) -> None:
        archive = ArchivePacking().unpack(data)
        self.execution_id = archive.execution_id
        self.events = archive.events
        self._namespace = archive.namespace
        self._definition: Definition = read_definition(archive.namespace, archive.source)

    def moments(self, upto: int) -> Iterator[Moment]:
        """Every event up to a sequence number; raises DataCorrupted if one cannot follow the others."""
        state, steps = self._blank(), _Steps()
        for event in self.events[:upto]:
            counts = self._fold(state, event)
            steps.note(state)
            yield Moment(
                sequence=event.sequence,
                offset=(event.at - state.started_at) / SECOND,
                step_path=getattr(event.fact, "path", ""),
                kind=kind_of(event.fact),
                what=told(event) if counts else f"{told(event)} (behind the end: it changes nothing)",
                status=state.status.value,
                open=dict(steps.open),
                ended=dict(steps.ended),
            )

    def check(self, upto: int) -> None:
        """Fold twice, the second time from events that were written and read again; raises DataCorrupted if in vain."""
        once, again = self._blank(), self._blank()
        for event in self.events[:upto]:
            self._fold(once, event)
            self._fold(again, event_from_message(event_to_message(event)))
        if _essence(once) != _essence(again):
            raise DataCorrupted(f"execution {self.execution_id}", "its events do not give the same state twice")

    def _blank(self) -> ExecutionState:
        return ExecutionState(self._namespace, self.execution_id, self._definition, remember=True)

    def _fold(self, state: ExecutionState, event: Event) -> bool:
        try:
            return restore(state, event)
        except _DAMAGE as error:
            raise DataCorrupted(f"execution {self.execution_id}, event {event.sequence}", repr(error)) from error


@dataclass(slots=True)
class _Steps:
    """Which steps are open, with their status, and how many have ended how; costs nothing for those that have."""

    open: dict[str, str] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    known: int = 0

    def note(self, state: ExecutionState) -> None:
        """Take in what one event has changed."""
        fresh = list(islice(reversed(state.steps), max(0, len(state.steps) - self.known)))
        self.known = len(state.steps)
        for path in (*list(self.open), *reversed(fresh)):
            step = state.steps.get(path)
            if step is not None and not step.status.final:
                self.open[path] = step.status.value
                continue
            self.open.pop(path, None)
            if step is not None:
                self.ended[step.status.value] += 1


def _essence(state: ExecutionState) -> object:
    steps = {
        path: (step.status, step.attempts, step.began_at, step.ended_at, step.output, step.failure, step.next_at)
        for path, step in state.steps.items()
    }
    variables = {path: dict(scope.vars) for path, scope in state.scopes.items()}
    signals = {name: [sequence for sequence, _ in kept] for name, kept in state.signals.items()}
    ends = (state.status, state.sequence, state.ended_at, state.output, state.failure, state.left_to_do)
    return ends, steps, variables, signals, tuple(state.open_attempts), tuple(state.ready), tuple(state.to_begin)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes are those of the command line: 0, or 2 for a file that cannot be played."""
    parser = argparse.ArgumentParser(prog="forgemesh execution replay", description=__doc__)
    parser.add_argument("file", type=Path, help="what `forgemesh execution export` wrote")
    parser.add_argument("--to", type=int, default=sys.maxsize, metavar="SEQUENCE", help="stop after this event")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    try:
        tape = Tape(given.file.read_bytes())
        for moment in tape.moments(given.to):
            _say(moment.as_json() if given.json else moment.as_text())
        tape.check(given.to)
    except (Fault, OSError) as error:
        sys.stderr.write(printable(f"error: {given.file}: {_cause(error)}") + "\n")
        return 2
    if not given.json:
        _say(f"{min(given.to, len(tape.events))} of {len(tape.events)} events; folded twice, they give the same state")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _cause(error: Fault | OSError) -> str:
    return error.message if isinstance(error, Fault) else error.strerror or str(error)


if __name__ == "__main__":
    sys.exit(main())
