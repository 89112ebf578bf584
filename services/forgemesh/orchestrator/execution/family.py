"""Families: an execution, the ones that its steps start, and theirs."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import ExecutionState, StepState
from forgemesh.orchestrator.workflow.definition import Child, Definition


@dataclass(frozen=True, slots=True)
class FamilyLimits:
    """How many executions may stand below one another, the root counted, and how many of a family may be open."""

    depth: int = 16
    members: int = 10_000


@dataclass(frozen=True, slots=True)
class Kin:
    """The run at the root of an execution's family, and how deep it stands in it, the root being the first."""

    root: str
    generation: int = 1


def kin_of(state: ExecutionState, parent: Kin | None) -> Kin:
    """
    The family that an execution belongs to, wherever it runs and whoever stands above it by now.

    `parent` counts only if it does not say so itself, as children of older releases do.
    """
    origin = origin_of(state)
    if origin.root_run:
        return Kin(origin.root_run, max(origin.generation, 1))
    if parent is not None:
        return Kin(parent.root, parent.generation + 1)
    return Kin(state.run_id)


def origin_of(state: ExecutionState) -> e.Origin:
    """Where it comes from; an empty one if it was just started."""
    started = state.started
    return started.origin if started is not None and started.origin is not None else _NOWHERE


_NOWHERE = e.Origin()


def awaited_at(parent: ExecutionState, child: ExecutionState) -> StepState | None:
    """
    The step of `parent` that waits for `child`; None if none does, or does not any more.

    Whether the child is that one's, and no copy of it, is not looked at; see children.py.
    """
    origin = origin_of(child)
    step = parent.open_attempts.get(origin.parent_path)
    if step is None or step.started is None or step.attempts != origin.parent_attempt:
        return None
    return step if step.started.child_id == child.execution_id else None


def on_close_of(child: ExecutionState, definition: Definition) -> str:
    """What becomes of a child once its parent, of that definition, has stopped; nothing if neither says so."""
    recorded = origin_of(child).on_close
    if recorded:
        return recorded
    try:
        step = definition.step_at(origin_of(child).parent_path)
    except KeyError:
        return ""
    return step.on_close if isinstance(step, Child) else ""


def begun_as(state: ExecutionState) -> str:
    """The run that its history began as."""
    return (state.started.run_id if state.started is not None else "") or state.run_id


def is_ending(state: ExecutionState) -> bool:
    """Whether it has been told to stop, or undoes what it did, or has ended."""
    return state.ended is not None or state.compensating or bool(state.cancels) or state.stopping is not None


def told_apart(parent: ExecutionState, child: ExecutionState) -> tuple[e.Fact, ...]:
    """
    Releases that did not count families passed a parent's pause on as if it were the child's own: what must be put on
    record for the child to go on with its parent. One that somebody asked for in the same words is lifted with it.
    """
    pause = child.own_pause
    if pause is None or origin_of(child).root_run or child.inherited_pause is not None or pause != parent.own_pause:
        return ()
    inherited = e.PauseRequested(pause.by, pause.reason, pause.interrupt, pause.hold_clock, inherited=True)
    return (e.ExecutionResumed(pause.by), inherited)
