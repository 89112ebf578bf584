"""The events of an execution, told to people line by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forgemesh.cli.table import joined, printable
from forgemesh.faults.workflow import Cancelled

if TYPE_CHECKING:
    from forgemesh.api.errors.v1.failure_pb2 import Failure
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent

STEP_WIDTH = 36
TIME_WIDTH = 8
MESSAGE_WIDTH = 160
_NOTICEABLE = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """What happened at a step: a mark, the step, how long it took, and the rest; `style` is a colour."""

    mark: str
    step: str
    took: str
    note: str
    style: str

    def __str__(self) -> str:
        place = f"{self.step:<{STEP_WIDTH}} {self.took:>{TIME_WIDTH}}   " if self.step else ""
        return printable(f"  {self.mark} {place}{self.note}").rstrip()


@dataclass(slots=True)
class Progress:
    """What the events seen so far amount to."""

    steps: int = 0
    retries: int = 0
    status: str = "running"
    began: int = 0
    ended: int = 0
    failure: Failure | None = None
    _open: dict[str, int] = field(default_factory=dict)

    def take(self, event: ExecutionEvent) -> Line | None:
        """The next event in order; a line if people want to know."""
        told = _TELLERS.get(event.WhichOneof("kind") or "")
        return told(self, event) if told else None

    def open_steps(self) -> list[str]:
        """The calls that are under way, in order of their beginning."""
        return list(self._open)

    def summary(self) -> str:
        """How it ended, in a few words."""
        return joined(
            (
                f"{self.status} in {duration(self.ended - self.began)}",
                counted(self.steps, "step"),
                counted(self.retries, "retry", "retries") if self.retries else "",
            )
        )

    def _started(self, event: ExecutionEvent) -> None:
        self.began = event.unix_nano

    def _succeeded(self, event: ExecutionEvent) -> None:
        self.status, self.ended = "succeeded", event.unix_nano

    def _failed(self, event: ExecutionEvent) -> None:
        self.status, self.ended = "failed", event.unix_nano
        self.failure = event.execution_failed.failure

    def _recovered(self, event: ExecutionEvent) -> Line:
        return Line("↻", "", "", "another orchestrator process goes on with it", "yellow")

    def _attempt_started(self, event: ExecutionEvent) -> None:
        self._open.setdefault(event.step_path, event.unix_nano)
        self.retries += event.attempt_started.attempt > 1

    def _attempt_succeeded(self, event: ExecutionEvent) -> Line:
        done = event.attempt_succeeded
        self.steps += 1
        note = joined((done.dispatch.instance_id, f"attempt {done.attempt}" if done.attempt > 1 else ""))
        return Line("✓", event.step_path, self._took(event), note, "green")

    def _attempt_failed(self, event: ExecutionEvent) -> Line:
        tried = event.attempt_failed
        instance, which = tried.dispatch.instance_id, f"attempt {tried.attempt} "
        if tried.next_attempt_unix_nano:
            pause = tried.next_attempt_unix_nano - event.unix_nano
            following = f"next in {duration(pause)}" if pause >= _NOTICEABLE else "next at once"
            note = joined((instance, f"{which}failed: {short(tried.failure)}", following))
            return Line("⟳", event.step_path, "", note, "yellow")
        self.steps += 1
        if tried.failure.reason == Cancelled.reason:
            return Line("-", event.step_path, self._took(event), joined((instance, "cancelled")), "dim")
        note = joined((instance, f"{which if tried.attempt > 1 else ''}failed: {tried.failure.reason}"))
        return Line("✗", event.step_path, self._took(event), note, "red")

    def _blocked(self, event: ExecutionEvent) -> Line:
        blocked = event.step_blocked
        note = f"waits: {blocked.reason}, {cut(blocked.message)}"
        return Line("⏸", event.step_path, "", note, "yellow")

    def _unblocked(self, event: ExecutionEvent) -> Line:
        return Line("▸", event.step_path, "", "goes on", "cyan")

    def _group_started(self, event: ExecutionEvent) -> Line:
        return Line("→", event.step_path, "", ", ".join(event.group_started.branches), "cyan")

    def _step_failed(self, event: ExecutionEvent) -> Line | None:
        known = self._open.pop(event.step_path, None) is not None
        self.steps += known
        return Line("✗", event.step_path, "", short(event.step_failed.failure), "red")

    def _skipped(self, event: ExecutionEvent) -> Line:
        return Line("-", event.step_path, "", f"skipped: {event.step_skipped.reason}", "dim")

    def _cancelled(self, event: ExecutionEvent) -> Line:
        self._open.pop(event.step_path, None)
        return Line("-", event.step_path, "", "cancelled", "dim")

    def _took(self, event: ExecutionEvent) -> str:
        return duration(event.unix_nano - self._open.pop(event.step_path, event.unix_nano))


_TELLERS = {
    "execution_started": Progress._started,
    "execution_succeeded": Progress._succeeded,
    "execution_failed": Progress._failed,
    "execution_recovered": Progress._recovered,
    "attempt_started": Progress._attempt_started,
    "attempt_succeeded": Progress._attempt_succeeded,
    "attempt_failed": Progress._attempt_failed,
    "step_blocked": Progress._blocked,
    "step_unblocked": Progress._unblocked,
    "group_started": Progress._group_started,
    "step_failed": Progress._step_failed,
    "step_skipped": Progress._skipped,
    "step_cancelled": Progress._cancelled,
}


def duration(nanoseconds: int) -> str:
    """A length of time with a sensible unit: 12 ms, 3.4 s, 2 m 05 s."""
    milliseconds = max(nanoseconds, 0) / 1e6
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 1 else f"{milliseconds:.1f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, rest = divmod(int(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {rest:02} s"


def counted(number: int, singular: str, plural: str = "") -> str:
    """1 step, 2 steps."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def short(failure: Failure) -> str:
    """A failure on one line."""
    return f"{failure.reason}, {cut(failure.message)}"


def cut(text: str) -> str:
    """At most so much of it as fits on a line or two."""
    return text if len(text) <= MESSAGE_WIDTH else text[: MESSAGE_WIDTH - 1] + "…"
