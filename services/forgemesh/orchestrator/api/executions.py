"""Executions, definitions and what is told about them, as messages."""

from __future__ import annotations

from collections.abc import Mapping

from forgemesh.api.orchestrator.v1 import control_pb2, definition_pb2, execution_pb2 as pb
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.orchestrator.execution.checkpoint import Checkpoint
from forgemesh.orchestrator.execution.explain import Blocker, Explanation
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState, StepStatus
from forgemesh.orchestrator.store.events import SCHEMA_VERSION, origin_to_message
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.wire.payloads import failure_to_message, moment, payload_to_message, timestamp
from forgemesh.orchestrator.workflow.definition import Definition

MAX_MESSAGE = SESSION_LIMIT - 16 * 1024

_STATUS = {status: pb.ExecutionStatus.Value(f"EXECUTION_STATUS_{status.value}") for status in Status}
_STEP_STATUS = {status: pb.StepStatus.Value(f"STEP_STATUS_{status.value}") for status in StepStatus}


def definition_to_message(definition: Definition, created_at: int, *, source: bool) -> definition_pb2.Definition:
    return definition_pb2.Definition(
        namespace=definition.namespace,
        name=definition.name,
        version=definition.version,
        content_hash=definition.content_hash,
        description=definition.description,
        source=definition.source if source else "",
        created_at=timestamp(created_at),
    )


def execution_to_message(
    state: ExecutionState,
    *,
    progress: float = 0.0,
    expected_end: int = 0,
    suspended: str = "",
    said: Mapping[str, tuple[float, str]] = {},
) -> pb.Execution:
    """
    The whole execution with its steps; without its input, and then with fewer steps, if it is too large for a message.

    `said` is what open attempts say of themselves, by step path.
    """
    message = _head(state)
    for step in state.steps.values():
        _add_step(message, step, said.get(step.path))
    message.progress, message.suspended_reason = progress, suspended
    if expected_end:
        message.expected_end.CopyFrom(moment(expected_end))
    root = state.scopes.get("")
    for name, value in (root.vars if root is not None else {}).items():
        message.variables[name].CopyFrom(payload_to_message(value))
    _shrink(message)
    return message


def _head(state: ExecutionState) -> pb.Execution:
    started = state.started
    assert started is not None
    stopped = state.pause or state.cancel
    return pb.Execution(
        namespace=state.namespace,
        execution_id=state.execution_id,
        workflow=started.workflow,
        workflow_version=started.workflow_version,
        status=_STATUS[state.status],
        input=payload_to_message(started.input),
        output=payload_to_message(state.output) if state.output is not None else None,
        failure=failure_to_message(state.failure) if state.failure is not None else None,
        started_at=timestamp(state.started_at),
        ended_at=timestamp(state.ended_at),
        sequence=state.sequence,
        trace_id=started.trace_id.hex(),
        deadline=timestamp(0 if state.clock_held else state.deadline),
        priority=started.priority,
        concurrency_key=started.concurrency_key,
        origin=origin_to_message(started.origin) if started.origin is not None else None,
        stopped_by=stopped.by if stopped is not None else "",
        stopped_reason=stopped.reason if stopped is not None else "",
        left_to_do=[path for path in state.left_to_do if path not in state.handed_over],
        handed_over=state.handed_over,
        run_id=state.run_id,
    )


def _shrink(message: pb.Execution) -> None:
    for field in ("input", "variables"):
        if message.ByteSize() > MAX_MESSAGE:
            message.ClearField(field)
    size = message.ByteSize()
    while size > MAX_MESSAGE and message.steps:
        size -= message.steps[0].ByteSize() + 6
        del message.steps[0]


def row_to_message(row: ExecutionRow) -> pb.Execution:
    """What lists show."""
    return pb.Execution(
        namespace=row.namespace,
        execution_id=row.execution_id,
        workflow=row.workflow,
        workflow_version=row.workflow_version,
        status=_STATUS[row.status],
        started_at=timestamp(row.started_at),
        ended_at=timestamp(row.ended_at),
        sequence=row.sequence,
        trace_id=row.trace_id,
        priority=row.priority,
        concurrency_key=row.concurrency_key,
        run_id=row.run_id,
    )


def _add_step(execution: pb.Execution, step: StepState, said: tuple[float, str] | None) -> None:
    """Made in its place, since a message that is made apart is copied; what most steps have not is not set."""
    message = execution.steps.add(
        step_path=step.path, kind=step.step.kind, status=_STEP_STATUS[step.status], attempts=step.attempts
    )
    if step.began_at:
        message.began_at.seconds, message.began_at.nanos = divmod(step.began_at, SECOND)
    if step.ended_at:
        message.ended_at.seconds, message.ended_at.nanos = divmod(step.ended_at, SECOND)
    if step.dispatch is not None:
        message.instance_id = step.dispatch.instance_id
    if step.started is not None and step.started.child_id:
        message.child_execution_id = step.started.child_id
    if step.status is not StepStatus.SUCCEEDED or step.failure or step.taken or step.branches or step.waits:
        _add_rest(message, step)
    if said is not None:
        message.progress, message.progress_note = said


def _add_rest(message: pb.Step, step: StepState) -> None:
    """What a call that succeeded at once has not."""
    if step.failure is not None:
        message.failure.CopyFrom(failure_to_message(step.failure))
    if step.blocked is not None:
        message.blocked_reason, message.blocked_message = step.blocked.reason, step.blocked.message
    if step.next_at:
        message.next_attempt_at.CopyFrom(moment(step.next_at))
    message.skipped_reason, message.taken, message.effect_owner = step.skipped, step.taken, step.owner
    if step.waits is not None:
        message.waits_for_signal = step.waits.signal
        if step.waits.until and not step.status.final:
            message.waits_until.CopyFrom(moment(step.waits.until))
    if step.branches is not None:
        message.branches = step.branches.next if step.step.rounds else step.branches.count
        message.branches_succeeded = step.branches.succeeded
        message.branches_failed = len(step.branches.failures)
        message.branches_skipped = step.branches.skipped


def checkpoint_to_message(checkpoint: Checkpoint, row: ExecutionRow, content_hash: str) -> control_pb2.Checkpoint:
    return control_pb2.Checkpoint(
        checkpoint_id=checkpoint.id,
        execution_id=row.execution_id,
        workflow_version=row.workflow_version,
        content_hash=content_hash,
        sequence=checkpoint.sequence,
        step_path=checkpoint.path,
        branch=checkpoint.branch,
        attempt=checkpoint.attempt,
        status=_STEP_STATUS[checkpoint.step_status],
        time=timestamp(checkpoint.at),
        schema_version=SCHEMA_VERSION,
        checksum=checkpoint.checksum,
        execution_status=_STATUS[checkpoint.status],
    )


def explanation_to_message(run_id: str, explanation: Explanation) -> control_pb2.ExplainExecutionResponse:
    return control_pb2.ExplainExecutionResponse(
        run_id=run_id,
        status=_STATUS[explanation.status],
        summary=explanation.summary,
        hindrances=[_blocker_to_message(one) for one in explanation.blockers],
    )


def _blocker_to_message(blocker: Blocker) -> control_pb2.Hindrance:
    return control_pb2.Hindrance(
        step_path=blocker.step_path,
        reason=blocker.reason,
        message=blocker.message,
        since=timestamp(blocker.since),
        until=timestamp(blocker.until),
        instance_id=blocker.instance_id,
    )
