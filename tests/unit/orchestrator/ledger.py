"""An independent account of what a history may say, kept event by event beside the real fold."""

from __future__ import annotations

from dataclasses import dataclass, field

from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Call, Definition, Step


@dataclass
class Ledger:
    """Raises AssertionError for an event that must not come now."""

    definition: Definition
    before: dict[str, str | None] = field(default_factory=dict)
    around: dict[str, str] = field(default_factory=dict)
    sequence: int = 0
    at: int = 0
    begun: set[str] = field(default_factory=set)
    ended: dict[str, bool] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    over: bool = False

    def __post_init__(self) -> None:
        self._learn(self.definition.steps, "", "")

    def _learn(self, steps: tuple[Step, ...], prefix: str, group: str) -> None:
        previous: str | None = None
        for step in steps:
            path = f"{prefix}{step.id}"
            self.before[path], self.around[path] = previous, group
            previous = path
            if not isinstance(step, Call):
                for branch in step.branches:
                    self._learn(branch.steps, f"{path}/{branch.name}/", path)

    def enter(self, event: e.Event) -> None:
        assert not self.over, "an ended execution goes on"
        assert event.sequence == self.sequence + 1
        assert event.at >= self.at
        self.sequence, self.at = event.sequence, event.at
        self._about_an_attempt(event.fact)
        self._about_a_step(event.fact)
        if isinstance(event.fact, e.ExecutionSucceeded | e.ExecutionFailed):
            self.over = True
            assert set(self.ended) == self.begun, "steps were left open"
            assert not self.open

    def _about_an_attempt(self, fact: e.Fact) -> None:
        match fact:
            case e.AttemptStarted(path, attempt):
                self._attempt(path, attempt)
            case e.AttemptSucceeded(path, attempt):
                self._close(path, attempt)
                self._end(path, good=True)
            case e.AttemptFailed(path, attempt, _, _, next_at):
                self._close(path, attempt)
                if not next_at:
                    self._end(path, good=False)
            case e.StepBlocked(path, attempt) | e.StepUnblocked(path, attempt):
                assert self.open[path] == attempt

    def _about_a_step(self, fact: e.Fact) -> None:
        match fact:
            case e.GroupStarted(path):
                self._begin(path)
            case e.GroupSucceeded(path):
                self._end(path, good=True)
            case e.StepSkipped(path):
                self._begin(path)
                self._end(path, good=True)
            case e.StepFailed(path) | e.StepCancelled(path):
                self._give_up(path)
            case e.StopRequested(path):
                assert path not in self.stopping, "stopped twice"
                assert not path or path in self.begun - set(self.ended)
                self.stopping.add(path)

    def _begin(self, path: str) -> None:
        assert path not in self.begun, f"{path} begins twice"
        previous, group = self.before[path], self.around[path]
        assert previous is None or self.ended[previous], f"{path} begins before {previous} has ended well"
        assert not group or (group in self.begun and group not in self.ended)
        assert not self._is_stopping(path), f"{path} begins in what stops"
        self.begun.add(path)

    def _attempt(self, path: str, attempt: int) -> None:
        if attempt == 1:
            self._begin(path)
        assert path not in self.open
        assert path not in self.ended
        assert attempt == self.attempts.get(path, 0) + 1
        assert not self._is_stopping(path)
        self.attempts[path] = self.open[path] = attempt

    def _close(self, path: str, attempt: int) -> None:
        assert self.open.pop(path) == attempt

    def _give_up(self, path: str) -> None:
        if path not in self.begun:
            self.begun.add(path)  # it ends without having begun
        assert path not in self.open
        self._end(path, good=False)

    def _end(self, path: str, *, good: bool) -> None:
        assert path in self.begun
        assert path not in self.ended, f"{path} ends twice"
        inside = [inner for inner in self.begun if inner.startswith(f"{path}/") and inner not in self.ended]
        assert not inside, f"{path} ends before {inside}"
        self.ended[path] = good

    def _is_stopping(self, path: str) -> bool:
        group = self.around[path]
        while group:
            if group in self.stopping:
                return True
            group = self.around[group]
        return "" in self.stopping
