"""What a fork takes over from the execution that it starts from."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Sequence
from forgemesh.orchestrator.domain.scopes import UPSTREAM_FAILED
from forgemesh.orchestrator.domain.state import ExecutionState, Scope, StepState, StepStatus


def results(state: ExecutionState, rerun: Collection[str]) -> Iterator[e.ResultTaken]:
    """
    The results that hold in the fork, in order of their time: of what ended well or was skipped, but not of the steps
    in `rerun`, nor of what comes after one of those in its sequence, nor of the groups around it.

    `state` was folded with `remember`. What is inside an ended group goes with the group.
    """
    left_out = _left_out(state, rerun)
    kept = [step for step in state.steps.values() if _holds(step) and step.path not in left_out]
    whole = {step.path for step in kept}
    for step in sorted(kept, key=lambda one: one.ended_at):
        if not any(above in whole for above in _groups_around(step)):
            yield e.ResultTaken(step.path, state.output_of(step), step.skipped, dict(step.merged))


def _holds(step: StepState) -> bool:
    if step.compensates is not None:
        return False
    return step.status is StepStatus.SUCCEEDED or (
        step.status is StepStatus.SKIPPED and step.skipped != UPSTREAM_FAILED
    )


def _groups_around(step: StepState) -> Iterator[str]:
    scope: Scope | None = step.scope
    while scope is not None and scope.group is not None:
        yield scope.group.path
        scope = scope.outer


def _left_out(state: ExecutionState, rerun: Collection[str]) -> set[str]:
    """The steps to run again with what comes after them and what is inside those; and the groups around them."""
    again: set[str] = set()
    around: set[str] = set()
    for path in rerun:
        step = state.steps.get(path)
        if step is not None:
            again |= {step.scope.path_of(index) for index in _from(step.scope.steps, step.index)}
            step = step.scope.group
        while step is not None:
            around.add(step.path)
            again |= {step.scope.path_of(index) for index in _from(step.scope.steps, step.index) - {step.index}}
            step = step.scope.group
    below = tuple(f"{path}/" for path in again)
    return again | around | {path for path in state.steps if below and path.startswith(below)}


def _from(steps: Sequence, index: int) -> set[int]:
    """The step and all that come after it."""
    found, todo = {index}, [index]
    while todo:
        for following in steps.following[todo.pop()]:
            if following not in found:
                found.add(following)
                todo.append(following)
    return found


def merge_patch(target: object, patch: object) -> object:
    """JSON Merge Patch, RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result
