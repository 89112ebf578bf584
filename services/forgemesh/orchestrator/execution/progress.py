"""How much of an execution is done, as far as its definition lets that be known."""

from __future__ import annotations

from collections.abc import Mapping

from forgemesh.orchestrator.execution.state import ExecutionState, Scope, StepState
from forgemesh.orchestrator.workflow.definition import Worker

SURE = 0.02
"""Below this share of the work, no end is foretold."""


def progress(state: ExecutionState, running: Mapping[str, float]) -> float:
    """
    From 0 to 1: the mean over the outermost steps, each that has begun counting by its own progress.

    `running` is what open attempts say of themselves, by step path.
    """
    if state.status.final:
        return 1.0
    return _of_scope(state, state.scopes.get(""), running)


def expected_end(state: ExecutionState, running: Mapping[str, float], now: int) -> int:
    """When it will have ended if the rest takes as long as what was done (Unix nanoseconds); 0 if that is unknown."""
    done = progress(state, running)
    if state.status.final or state.pause is not None or state.compensating or done < SURE:
        return 0
    return now + int((now - state.started_at) * (1 - done) / done)


def _of_scope(state: ExecutionState, scope: Scope | None, running: Mapping[str, float]) -> float:
    if scope is None:
        return 0.0
    return sum(_of_step(state, step, running) for step in scope.begun.values()) / len(scope.steps)


def _of_step(state: ExecutionState, step: StepState, running: Mapping[str, float]) -> float:
    if step.status.final:
        return 1.0
    if isinstance(step.step, Worker):
        return min(max(running.get(step.path, 0.0), 0.0), 1.0)
    if step.branches is None or not step.branches.count:
        return 0.0
    branches = step.branches
    ended = branches.ended
    first = branches.next - 1 if step.step.rounds else 0
    names = step.branch_names or tuple(str(number) for number in range(first, branches.next))
    open_scopes = (state.scopes.get(f"{step.path}/{name}") for name in names)
    inside = sum(_of_scope(state, scope, running) for scope in open_scopes if scope is not None and scope.open)
    return (ended + inside) / branches.count
