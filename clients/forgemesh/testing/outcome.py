"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An attempt that reached a plugin; `at` is in seconds of virtual time since the start of the run."""

    plugin: str
    operation: str
    step_path: str
    attempt: int
    input: Any
    at: float
    execution_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step or the execution failed; `code` is a canonical code's name, `causes` are what it sums up."""

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retryable: bool = False
    step_path: str = ""
    causes: tuple[Failure, ...] = ()

    @classmethod
    def told(cls, said: Mapping[str, Any] | None) -> Failure | None:
        """As the process of the workflow environment tells it."""
        if said is None:
            return None
        causes = tuple(cause for one in said["causes"] if (cause := cls.told(one)) is not None)
        return cls(**{**said, "causes": causes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a step stands: its status ("SUCCEEDED", "SKIPPED", ...), and its output if it has succeeded."""

    status: str
    attempts: int
    output: Any
    failure: Failure | None
    skipped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the execution's history; `at` is in seconds since its start, `what` for people."""

    sequence: int
    at: float
    kind: str
    step_path: str
    what: str

    def __str__(self) -> str:
        return f"{self.sequence:>5}  {self.at:>12.3f} s  {self.step_path}  {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    How an execution ended: `status` is "SUCCEEDED", "FAILED", "COMPENSATED" and so on.

    `calls` are all that reached plugins, in order; `steps` are by path, in order of their beginning; `elapsed` is in
    seconds of virtual time; `left_to_do` are steps whose effects were not undone.
    """

    status: str
    output: Any
    failure: Failure | None
    elapsed: float
    calls: tuple[Call, ...]
    steps: Mapping[str, Step]
    events: tuple[Event, ...]
    left_to_do: tuple[str, ...]
    execution_id: str

    @classmethod
    def told(cls, said: Mapping[str, Any], calls: Sequence[Call]) -> Outcome:
        """As the process of the workflow environment tells it, with the calls that it made."""
        steps = {
            path: Step(**{**step, "failure": Failure.told(step["failure"])}) for path, step in said["steps"].items()
        }
        return cls(
            status=said["status"],
            output=said["output"],
            failure=Failure.told(said["failure"]),
            elapsed=said["elapsed"],
            calls=tuple(calls),
            steps=steps,
            events=tuple(Event(**event) for event in said["events"]),
            left_to_do=tuple(said["left_to_do"]),
            execution_id=said["execution_id"],
        )
