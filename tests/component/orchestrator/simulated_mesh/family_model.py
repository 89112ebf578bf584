"""The account of one execution in a mesh, where calls may have begun of which nobody has heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from forgemesh.orchestrator.workflow.definition import COMPENSATION, Call, Child
from tests.component.orchestrator.simulated_mesh.laws import demand
from tests.unit.orchestrator.history_model import HistoryModel

_UNSURE = {"HOST_LOST", "ORCHESTRATOR_LOST", "CANCELLED", "IN_DOUBT", "INTERRUPTED", "HEARTBEAT_TIMEOUT"} | {
    "START_TO_CLOSE_TIMEOUT",
    "SCHEDULE_TO_CLOSE_TIMEOUT",
    "EXECUTION_TIMEOUT",
    "INTERNAL",
    "UNKNOWN",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
}
"""Reasons after which nobody can say from the history alone whether there is an effect; `begun` knows."""


@dataclass
class FamilyModel(HistoryModel):
    """
    See Ledger. `has_effect` asks the plugins themselves whether a step's effect has happened by now.

    Effects of steps that did not end well may be undone or not, as far as the history goes; that none is left which has
    happened is another matter, see `left_behind`.
    """

    has_effect: Callable[[str], bool] = lambda path: False
    maybe: set[str] = field(default_factory=set)
    waived: list[str] = field(default_factory=list)
    retried_by_people: dict[str, int] = field(default_factory=dict)

    def _resolve(self, path: str, action: str) -> None:
        if action == "retry":
            self.retried_by_people[path] = self.retried_by_people.get(path, 0) + 1
        super()._resolve(path, action)

    def _fail(self, path: str, reason: str, sent: bool, next_at: int, incident: str) -> None:
        super()._fail(
            path, "UNSURE" if reason in _UNSURE and reason != "CANCELLED" else reason, False, next_at, incident
        )
        if reason in _UNSURE:
            self.doubtful.add(path)
            self._reconsider(path)

    def _end(self, path: str, status: str) -> None:
        super()._end(path, status)
        self._reconsider(path)

    def _reconsider(self, path: str) -> None:
        """A step that did not end well is to be undone if it is known to have done something."""
        status = self.ended.get(path)
        if status is None or path.endswith(COMPENSATION) or status == "SUCCEEDED":
            return
        step = self._step(path)
        if isinstance(step, Call) and step.compensate is not None and path in self.doubtful:
            self.maybe.add(path)
            if path not in self.undoable:
                self.undoable.append(path)

    def _begin_undoing(self, path: str) -> None:
        while self.undoable and path != f"{self.undoable[-1]}{COMPENSATION}" and self.undoable[-1] in self.maybe:
            self.waived.append(self.undoable.pop())
        super()._begin_undoing(path)

    def _give_up(self, path: str, status: str) -> None:
        if path.endswith(COMPENSATION) and path not in self.begun:
            self._begin_undoing(path)
        super()._give_up(path, status)

    def _check_bad_end(self, status: str, left: list[str]) -> None:
        left = [path for path in left if not isinstance(self._step(path), Child)]  # what children have left to do
        if status != "TERMINATED":
            undone = [path for path in self.undoable if path in left or path not in self.maybe]
            self.waived += [path for path in self.undoable if path not in undone]
            self.undoable = undone
            self.waived = [path for path in self.waived if path not in left]
        super()._check_bad_end(status, left)
        self._check_nothing_is_left(status, left)

    def _check_nothing_is_left(self, status: str, left: list[str]) -> None:
        """Every effect that has happened is undone, or named as left to do."""
        if status == "TERMINATED":
            return
        forgotten = [path for path in self.waived if self.has_effect(path)]
        demand(
            not forgotten, "every effect is undone or named", f"{forgotten} happened and {status} says nothing of it"
        )
