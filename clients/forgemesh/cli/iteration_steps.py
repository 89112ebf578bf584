"""
The steps inside the iterations of maps and the rounds of loops, read from the history: an execution forgets them when
they have ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1.execution_pb2 import Step, StepStatus

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.client import ExecutionHandle

LONGEST_HISTORY = 20_000
"""Events that are read at most: a second or two."""
MOST_STEPS = 20
ITERATED = frozenset({"map", "loop"})
"""Kinds of steps of which the steps inside are forgotten when an iteration has ended."""
_ENDS = {
    "attempt_succeeded": StepStatus.STEP_STATUS_SUCCEEDED,
    "group_succeeded": StepStatus.STEP_STATUS_SUCCEEDED,
    "result_taken": StepStatus.STEP_STATUS_SUCCEEDED,
    "wait_ended": StepStatus.STEP_STATUS_SUCCEEDED,
    "step_failed": StepStatus.STEP_STATUS_FAILED,
    "step_skipped": StepStatus.STEP_STATUS_SKIPPED,
    "step_cancelled": StepStatus.STEP_STATUS_CANCELLED,
}
_BEGINNINGS = {"attempt_started": "call", "group_started": "group", "wait_started": "wait"}


def has_iterations(execution: Execution) -> bool:
    """Whether a map or a loop of it has begun."""
    return any(step.kind in ITERATED and step.branches for step in execution.steps)


async def iteration_steps(handle: ExecutionHandle, execution: Execution) -> list[Step]:
    """The steps inside iterations that `execution` does not list, in order of their beginning."""
    known = {step.step_path for step in execution.steps}
    found: dict[str, Step] = {}
    async for event in _so_far(handle, execution.sequence):
        path = event.step_path
        if path not in known and any(part.isdecimal() for part in path.split("/")):
            _take(found.setdefault(path, Step(step_path=path)), event)
    return [step for step in found.values() if step.status]


def chosen(steps: list[Step]) -> list[Step]:
    """Those that are shown: what did not succeed before the others, in their order."""
    bad = [step for step in steps if step.status != StepStatus.STEP_STATUS_SUCCEEDED][:MOST_STEPS]
    good = [step for step in steps if step.status == StepStatus.STEP_STATUS_SUCCEEDED][: MOST_STEPS - len(bad)]
    shown = {step.step_path for step in (*bad, *good)}
    return [step for step in steps if step.step_path in shown]


async def _so_far(handle: ExecutionHandle, last: int) -> AsyncIterator[ExecutionEvent]:
    """The history up to an event that is known to be there: what comes later is not waited for."""
    if not last:
        return
    events = handle.watch()
    try:
        async for event in events:
            yield event
            if event.sequence >= last:
                return
    finally:
        await events.aclose()


def _take(step: Step, event: ExecutionEvent) -> None:
    kind = event.WhichOneof("kind") or ""
    if kind in _BEGINNINGS and not step.status:
        step.kind, step.status = _BEGINNINGS[kind], StepStatus.STEP_STATUS_RUNNING
        step.began_at.CopyFrom(_moment(event))
    elif kind in _ENDS:
        step.status = _ENDS[kind]
        step.ended_at.CopyFrom(_moment(event))
        if not step.HasField("began_at"):
            step.began_at.CopyFrom(step.ended_at)
    match kind:
        case "attempt_started":
            step.attempts = event.attempt_started.attempt
            step.child_execution_id = event.attempt_started.child_execution_id
            step.kind = "workflow" if step.child_execution_id else "call"
        case "attempt_succeeded":
            step.instance_id = event.attempt_succeeded.dispatch.instance_id
            step.ClearField("failure")
        case "attempt_failed":
            step.instance_id = event.attempt_failed.dispatch.instance_id
            step.failure.CopyFrom(event.attempt_failed.failure)
        case "step_failed":
            step.failure.CopyFrom(event.step_failed.failure)
        case "step_skipped":
            step.skipped_reason = event.step_skipped.reason
        case "result_taken":
            step.taken = True


def _moment(event: ExecutionEvent) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(event.unix_nano)
    return moment
