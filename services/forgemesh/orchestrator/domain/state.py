"""The state of an execution, as it follows from its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Definition, Step
from forgemesh.orchestrator.domain.failure import Failure
from forgemesh.orchestrator.domain.payload import Payload, json_payload


class Status(Enum):
    """Where an execution stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class StepStatus(Enum):
    """Where a step stands."""

    RUNNING = "RUNNING"
    BLOCKED = "BLOCKED"
    WAITING = "WAITING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})


@dataclass(slots=True)
class Scope:
    """A sequence of steps that runs; `group` is None for the definition's own sequence."""

    path: str
    steps: tuple[Step, ...]
    group: StepState | None
    outer: Scope | None
    begun: dict[str, StepState] = field(default_factory=dict)
    index: int = 0

    def path_of(self, index: int) -> str:
        return f"{self.path}/{self.steps[index].id}" if self.path else self.steps[index].id


@dataclass(slots=True)
class StepState:
    """A step that has begun; times in Unix nanoseconds, 0 for not yet."""

    path: str
    step: Step
    scope: Scope
    began_at: int
    status: StepStatus = StepStatus.RUNNING
    ended_at: int = 0
    attempts: int = 0
    lost: int = 0
    next_at: int = 0
    input: Payload | None = None
    output: Payload | None = None
    failure: Failure | None = None
    dispatch: e.Dispatch | None = None
    blocked: e.StepBlocked | None = None
    blocked_at: int = 0
    branches: tuple[str, ...] = ()
    open_branches: int = 0
    stopping: Failure | None = None


@dataclass(slots=True)
class ExecutionState:
    """
    What is known about one execution. Folding an event in (see fold.py) is all that changes it.

    What has to be decided next is kept beside it, in order: `to_begin` (steps whose turn has come), `to_settle` (groups
    with an ended branch; "" is the execution itself), `open_attempts` and `waiting` (next tries that are due later),
    with `wakes` as a heap of when they are due; what has left `waiting` since is void in it.
    """

    namespace: str
    execution_id: str
    definition: Definition
    status: Status = Status.RUNNING
    sequence: int = 0
    started: e.ExecutionStarted | None = None
    started_at: int = 0
    ended_at: int = 0
    last_at: int = 0
    output: Payload | None = None
    failure: Failure | None = None
    stopping: Failure | None = None
    scopes: dict[str, Scope] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)
    to_begin: dict[str, tuple[Scope, int]] = field(default_factory=dict)
    to_settle: dict[str, None] = field(default_factory=dict)
    open_attempts: dict[str, StepState] = field(default_factory=dict)
    waiting: dict[str, StepState] = field(default_factory=dict)
    wakes: list[tuple[int, str]] = field(default_factory=list)

    def is_stopping(self, scope: Scope | None) -> bool:
        """Whether something around `scope` is failing, so that nothing new starts in it."""
        while scope is not None:
            if scope.group is not None and scope.group.stopping is not None:
                return True
            scope = scope.outer
        return self.stopping is not None

    def output_of(self, state: StepState) -> Payload:
        """What later steps see of an ended step; that of a group is worked out when it is first asked for."""
        if state.output is None:
            state.output = self._group_output(state)
        return state.output

    def _group_output(self, state: StepState) -> Payload:
        outputs = {name: self._branch_output(f"{state.path}/{name}") for name in state.branches}
        if state.step.kind == "switch":
            return next(iter(outputs.values()))
        parts: dict[str, object] = {}
        for name, output in outputs.items():
            try:
                parts[name] = output.raw()
            except ValueError as error:
                raise ValueError(f"branch {name!r}: {error}") from error
        return json_payload(parts)

    def _branch_output(self, path: str) -> Payload:
        scope = self.scopes[path]
        return self.output_of(scope.begun[scope.steps[-1].id])
