"""The events of an execution, told to people line by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forgemesh.chassis.foreign_text import printable
from forgemesh.cli.table import joined, word
from forgemesh.faults.workflow import Cancelled

if TYPE_CHECKING:
    from forgemesh.api.errors.v1.failure_pb2 import Failure
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent

STEP_WIDTH = 36
TIME_WIDTH = 8
MESSAGE_WIDTH = 160
COMPENSATION = ":compensate"
_NOTICEABLE = 1_000_000
_UNKNOWN = "something of a kind that this release of the client does not know; install that of the mesh"
_PERSON = "waits for a person"
_DECISIONS = {"retry": "is tried again", "complete": "counts as succeeded", "fail": "counts as failed"}


@dataclass(frozen=True, slots=True)
class ProgressLine:
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
    undone: int = 0
    status: str = "running"
    began: int = 0
    ended: int = 0
    failure: Failure | None = None
    _open: dict[str, int] = field(default_factory=dict)
    _maps: dict[str, int] = field(default_factory=dict)

    def take(self, event: ExecutionEvent) -> ProgressLine | None:
        """The next event in order; a line if people want to know."""
        kind = event.WhichOneof("kind")
        if kind is None:
            return ProgressLine("?", event.step_path, "", _UNKNOWN, "yellow")
        told = TELLERS.get(kind)
        return told(self, event) if told else None

    def open_steps(self) -> list[str]:
        """The calls and waits that are under way, in order of their beginning."""
        return list(self._open)

    def summary(self) -> str:
        """How it ended, in a few words."""
        return joined(
            (
                f"{self.status} in {duration(self.ended - self.began)}",
                counted(self.steps, "step"),
                counted(self.retries, "retry", "retries") if self.retries else "",
                f"{self.undone} undone" if self.undone else "",
            )
        )

    def _started(self, event: ExecutionEvent) -> ProgressLine | None:
        self.began = event.unix_nano
        started = event.execution_started
        if started.queued:
            return ProgressLine(
                "⏸", "", "", f"waits for a place under its concurrency key {started.concurrency_key}", "yellow"
            )
        if started.origin.forked_from:
            return ProgressLine("⑂", "", "", f"a fork of execution {started.origin.forked_from}", "cyan")
        return None

    def _admitted(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("▸", "", "", "has its place under its concurrency key", "cyan")

    def _succeeded(self, event: ExecutionEvent) -> None:
        self.status, self.ended = "succeeded", event.unix_nano

    def _failed(self, event: ExecutionEvent) -> None:
        self.status, self.ended = word(event.execution_failed.status or "FAILED", ""), event.unix_nano
        self.failure = event.execution_failed.failure

    def _recovered(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("↻", "", "", "another orchestrator process goes on with it", "yellow")

    def _pause_requested(self, event: ExecutionEvent) -> ProgressLine:
        asked = event.pause_requested
        runs = "what runs is taken back" if asked.interrupt else "what runs comes to its end"
        return ProgressLine("⏸", "", "", joined((f"asked to pause{_whom(asked.by, asked.reason)}", runs)), "yellow")

    def _paused(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("⏸", "", "", "paused until somebody resumes it", "yellow")

    def _resumed(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("▸", "", "", f"resumed{_whom(event.execution_resumed.by)}", "cyan")

    def _cancel_requested(self, event: ExecutionEvent) -> ProgressLine:
        asked = event.cancel_requested
        return ProgressLine("■", "", "", f"cancelled{_whom(asked.by, asked.reason)}", "yellow")

    def _stop_requested(self, event: ExecutionEvent) -> ProgressLine:
        stop = event.stop_requested
        cause = short(stop.failure) if stop.HasField("failure") else "enough branches have succeeded"
        return ProgressLine("■", event.step_path, "", f"ends early: {cause}", "yellow")

    def _compensation_started(self, event: ExecutionEvent) -> ProgressLine:
        cause = short(event.compensation_started.failure)
        return ProgressLine("↶", "", "", f"what was done is undone: {cause}", "yellow")

    def _signal_received(self, event: ExecutionEvent) -> ProgressLine:
        signal = event.signal_received
        return ProgressLine("✉", "", "", f"signal {signal.name}{_whom(signal.by)}", "cyan")

    def _variables_set(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("=", event.step_path, "", f"sets {', '.join(sorted(event.variables_set.values))}", "dim")

    def _attempt_started(self, event: ExecutionEvent) -> ProgressLine | None:
        self._open.setdefault(event.step_path, event.unix_nano)
        started = event.attempt_started
        self.retries += started.attempt > 1
        if started.child_execution_id:
            return ProgressLine("→", event.step_path, "", f"execution {started.child_execution_id}", "cyan")
        return None

    def _attempt_succeeded(self, event: ExecutionEvent) -> ProgressLine:
        done = event.attempt_succeeded
        undone = event.step_path.endswith(COMPENSATION)
        self.steps += not undone
        self.undone += undone
        attempt = f"attempt {done.attempt}" if done.attempt > 1 else ""
        note = joined((done.dispatch.instance_id, attempt, "kept from before" if done.dispatch.cached else ""))
        return ProgressLine("↶" if undone else "✓", event.step_path, self._took(event), note, "green")

    def _attempt_failed(self, event: ExecutionEvent) -> ProgressLine:
        tried = event.attempt_failed
        instance, which = tried.dispatch.instance_id, f"attempt {tried.attempt} "
        if tried.next_attempt_unix_nano:
            pause = tried.next_attempt_unix_nano - event.unix_nano
            following = f"next in {duration(pause)}" if pause >= _NOTICEABLE else "next at once"
            note = joined((instance, f"{which}failed: {short(tried.failure)}", following))
            return ProgressLine("⟳", event.step_path, "", note, "yellow")
        if tried.incident:
            why = "may have taken effect" if tried.incident == "IN_DOUBT" else "failed"
            note = joined((instance, f"{which}{why}: {short(tried.failure)}", _PERSON))
            return ProgressLine("!", event.step_path, self._took(event), note, "red")
        self.steps += not event.step_path.endswith(COMPENSATION)
        if tried.failure.reason == Cancelled.reason:
            return ProgressLine("-", event.step_path, self._took(event), joined((instance, "cancelled")), "dim")
        note = joined((instance, f"{which if tried.attempt > 1 else ''}failed: {tried.failure.reason}"))
        return ProgressLine("✗", event.step_path, self._took(event), note, "red")

    def _incident_opened(self, event: ExecutionEvent) -> ProgressLine:
        note = joined((short(event.incident_opened.failure), _PERSON))
        return ProgressLine("!", event.step_path, self._took(event), note, "red")

    def _incident_resolved(self, event: ExecutionEvent) -> ProgressLine:
        decided = event.incident_resolved
        what = _DECISIONS.get(decided.action, decided.action)
        self.steps += decided.action != "retry"
        return ProgressLine("▸", event.step_path, "", f"{what}{_whom(decided.by, decided.reason)}", "cyan")

    def _blocked(self, event: ExecutionEvent) -> ProgressLine:
        blocked = event.step_blocked
        note = f"waits: {blocked.reason}, {cut(blocked.message)}"
        return ProgressLine("⏸", event.step_path, "", note, "yellow")

    def _unblocked(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("▸", event.step_path, "", "goes on", "cyan")

    def _wait_started(self, event: ExecutionEvent) -> ProgressLine:
        self._open.setdefault(event.step_path, event.unix_nano)
        wait = event.wait_started
        signal = f"for signal {wait.signal}" if wait.signal else ""
        length = duration(wait.until_unix_nano - event.unix_nano) if wait.until_unix_nano else ""
        most = f"at most {length}" if wait.signal and length else length
        return ProgressLine(
            "⏲", event.step_path, "", " ".join(part for part in ("waits", signal, most) if part), "cyan"
        )

    def _wait_ended(self, event: ExecutionEvent) -> ProgressLine:
        self.steps += 1
        note = "the signal has come" if event.wait_ended.signal_sequence else ""
        return ProgressLine("✓", event.step_path, self._took(event), note, "green")

    def _group_started(self, event: ExecutionEvent) -> ProgressLine:
        group = event.group_started
        if not group.HasField("items"):
            return ProgressLine("→", event.step_path, "", ", ".join(group.branches), "cyan")
        self._maps[event.step_path] = event.unix_nano
        return ProgressLine("→", event.step_path, "", counted(group.count, "item"), "cyan")

    def _round_started(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("→", event.step_path, "", f"round {event.round_started.index}", "cyan")

    def _round_judged(self, event: ExecutionEvent) -> ProgressLine | None:
        """Only a pause before the next round is worth a line: the round itself, or the loop's end, has one."""
        pause = event.round_judged.next_round_unix_nano - event.unix_nano
        if pause < _NOTICEABLE:
            return None
        return ProgressLine("⏲", event.step_path, "", f"next round in {duration(pause)}", "cyan")

    def _group_succeeded(self, event: ExecutionEvent) -> ProgressLine | None:
        """The end of a map only: in other groups it follows from that of the branches."""
        began = self._maps.pop(event.step_path, None)
        if began is None:
            return None
        return ProgressLine("✓", event.step_path, duration(event.unix_nano - began), "all items", "green")

    def _result_taken(self, event: ExecutionEvent) -> ProgressLine:
        owner = event.result_taken.effect_owner
        told = f"; its effect is that of {owner}" if owner else ""
        return ProgressLine("=", event.step_path, "", f"taken over from the origin{told}", "dim")

    def _effect_taken(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine("=", event.step_path, "", "its effect is this execution's from now on", "dim")

    def _child_refused(self, event: ExecutionEvent) -> ProgressLine:
        refused = event.child_command_refused
        told = f"execution {refused.child_execution_id} refuses to {refused.command}: {short(refused.failure)}"
        return ProgressLine("!", event.step_path, "", told, "yellow")

    def _queued(self, event: ExecutionEvent) -> ProgressLine:
        return ProgressLine(
            "⏸", "", "", "gives up its place under its concurrency key: others held all of them", "yellow"
        )

    def _step_failed(self, event: ExecutionEvent) -> ProgressLine | None:
        known = self._open.pop(event.step_path, None) is not None
        self.steps += known
        return ProgressLine("✗", event.step_path, "", short(event.step_failed.failure), "red")

    def _skipped(self, event: ExecutionEvent) -> ProgressLine:
        self._open.pop(event.step_path, None)
        return ProgressLine("-", event.step_path, "", f"skipped: {event.step_skipped.reason}", "dim")

    def _cancelled(self, event: ExecutionEvent) -> ProgressLine:
        self._open.pop(event.step_path, None)
        return ProgressLine("-", event.step_path, "", "cancelled", "dim")

    def _took(self, event: ExecutionEvent) -> str:
        return duration(event.unix_nano - self._open.pop(event.step_path, event.unix_nano))


TELLERS = {
    "execution_started": Progress._started,
    "execution_admitted": Progress._admitted,
    "execution_succeeded": Progress._succeeded,
    "execution_failed": Progress._failed,
    "execution_recovered": Progress._recovered,
    "pause_requested": Progress._pause_requested,
    "execution_paused": Progress._paused,
    "execution_resumed": Progress._resumed,
    "cancel_requested": Progress._cancel_requested,
    "stop_requested": Progress._stop_requested,
    "compensation_started": Progress._compensation_started,
    "signal_received": Progress._signal_received,
    "variables_set": Progress._variables_set,
    "attempt_started": Progress._attempt_started,
    "attempt_succeeded": Progress._attempt_succeeded,
    "attempt_failed": Progress._attempt_failed,
    "incident_opened": Progress._incident_opened,
    "incident_resolved": Progress._incident_resolved,
    "step_blocked": Progress._blocked,
    "step_unblocked": Progress._unblocked,
    "wait_started": Progress._wait_started,
    "wait_ended": Progress._wait_ended,
    "group_started": Progress._group_started,
    "round_started": Progress._round_started,
    "round_judged": Progress._round_judged,
    "group_succeeded": Progress._group_succeeded,
    "result_taken": Progress._result_taken,
    "effect_taken": Progress._effect_taken,
    "child_command_refused": Progress._child_refused,
    "execution_queued": Progress._queued,
    "step_failed": Progress._step_failed,
    "step_skipped": Progress._skipped,
    "step_cancelled": Progress._cancelled,
}
"""Every kind of event has one."""


def _whom(by: str, reason: str = "") -> str:
    """By whom and why, as the end of a sentence."""
    return (f" by {by}" if by else "") + (f": {cut(reason)}" if reason else "")


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
