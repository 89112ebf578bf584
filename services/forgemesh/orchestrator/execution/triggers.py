"""What steps come to by how those before them ended, and who takes up a failure: the tables of docs/workflows.md."""

from __future__ import annotations

from forgemesh.orchestrator.execution.state import ExecutionState, Scope, StepState, StepStatus
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.workflow.definition import Trigger

UPSTREAM_FAILED = "UPSTREAM_FAILED"
UPSTREAM_SKIPPED = "UPSTREAM_SKIPPED"
"""Nothing before it succeeded, and nothing failed."""
_BAD = (StepStatus.FAILED, StepStatus.CANCELLED)


def may_run(scope: Scope, before: tuple[int, ...], trigger: Trigger) -> bool:
    """Whether a step runs by its trigger, once all that are before it have ended."""
    ended = [scope.begun[scope.steps[index].id] for index in before]
    match trigger:
        case Trigger.ALL_DONE:
            return True
        case Trigger.ANY_SUCCEEDED:
            return any(step.status is StepStatus.SUCCEEDED and not step.astray for step in ended)
        case Trigger.NONE_FAILED:
            return all(step.status in (StepStatus.SUCCEEDED, StepStatus.SKIPPED) for step in ended)
        case Trigger.ALL_SUCCEEDED:
            return all(
                not step.astray
                and (
                    step.status is StepStatus.SUCCEEDED
                    or (step.status is StepStatus.SKIPPED and step.skipped != UPSTREAM_FAILED)
                )
                for step in ended
            )


def look_back(state: ExecutionState, step: StepState) -> None:
    """A step that did nothing leads on from what was before it: also from a failure."""
    if not state.rules:
        return
    branches = step.branches
    if branches is not None and step.status is StepStatus.SUCCEEDED:
        step.idle = not branches.succeeded and not branches.failures
    if step.idle or step.status is StepStatus.SKIPPED:
        before = step.scope.steps.before[step.index]
        step.astray = step.skipped == UPSTREAM_FAILED or any(leads_from_failure(step.scope, one) for one in before)


def leads_from_failure(scope: Scope, index: int) -> bool:
    """Whether the step has ended, and badly or by doing nothing behind a failure."""
    step = scope.begun.get(scope.steps[index].id)
    return step is not None and (step.astray or step.status in _BAD)


def skip_reason(state: ExecutionState, scope: Scope, index: int) -> str:
    """Why a step that cannot run any more is skipped."""
    failed = not state.rules or any(leads_from_failure(scope, one) for one in scope.steps.before[index])
    return UPSTREAM_FAILED if failed else UPSTREAM_SKIPPED


def unhandled_failure(state: ExecutionState, scope: Scope) -> Failure | None:
    """The first failure, by time, of a step of the sequence that no tolerant step after it has taken up."""
    if not scope.failed:
        return None
    failed = [step for step in scope.begun.values() if step.status is StepStatus.FAILED]
    for step in sorted(failed, key=lambda one: one.ended_at):
        if not is_taken_up(state.rules, scope, step.index):
            return step.failure
    return None


def is_taken_up(rules: int, scope: Scope, index: int) -> bool:
    """Whether a step after the failed one, directly or not, tolerates failures, and has done what it is there for."""
    seen, todo = {index}, [index]
    while todo:
        for following in scope.steps.following[todo.pop()]:
            if following in seen:
                continue
            seen.add(following)
            step = scope.begun.get(scope.steps[following].id)
            if step is None:
                continue
            if step.step.trigger.tolerant and (was_done(step) if rules else _was_begun(step)):
                return True
            todo.append(following)
    return False


def was_done(step: StepState) -> bool:
    """Whether a step succeeded, and not only because there was nothing to do in it."""
    return step.status is StepStatus.SUCCEEDED and not step.idle


def _was_begun(step: StepState) -> bool:
    """What taking up asked for by the rules of older releases."""
    return step.status in (StepStatus.SUCCEEDED, StepStatus.FAILED) or step.skipped not in ("", UPSTREAM_FAILED)
