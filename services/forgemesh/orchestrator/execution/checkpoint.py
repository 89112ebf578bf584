"""Points of an execution up to which everything is durable: each is the event with which a step ended."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """
    Everything up to and including the event `sequence` is done; an execution that goes on from here begins with what
    comes after the step at `path`. `at` is Unix nanoseconds.
    """

    sequence: int
    at: int
    path: str
    attempt: int
    step_status: StepStatus
    status: Status
    checksum: int

    @property
    def id(self) -> str:
        """Tells the event and, by its checksum, the history: an id from elsewhere is recognised."""
        return f"{self.sequence}-{self.checksum:08x}"

    @property
    def branch(self) -> str:
        """The branch that the step is in; empty outside of groups."""
        return self.path.split("/")[-2] if "/" in self.path else ""


def checkpoint_at(state: ExecutionState, event: e.Event, checksum: int) -> Checkpoint | None:
    """The checkpoint that `event` is, if a step ended with it; `state` is that after it."""
    path = getattr(event.fact, "path", "")
    step = state.steps.get(path) if path else None
    if step is None or not step.status.final or isinstance(event.fact, e.VariablesSet | e.ResultTaken | e.EffectTaken):
        return None
    return Checkpoint(
        sequence=event.sequence,
        at=event.at,
        path=path,
        attempt=step.attempts,
        step_status=step.status,
        status=state.status,
        checksum=checksum,
    )


def sequence_of(checkpoint_id: str) -> int | None:
    """The event that an id names; None if it names none."""
    number, _, checksum = checkpoint_id.partition("-")
    if not number.isdecimal() or len(number) > 18 or len(checksum) != 8:
        return None
    return int(number)
