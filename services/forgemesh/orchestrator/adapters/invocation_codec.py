"""Invocations and their results between a link and its messages."""

from __future__ import annotations

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.faults.plugin import OutputInvalid
from forgemesh.orchestrator.codec.payloads import foreign_failure, payload_from_message
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.payload import JSON, Payload, misread
from forgemesh.orchestrator.ports import Answer, Invocation


def write_invocation(
    message: invocation_pb2.Invocation, invocation: Invocation, call_id: int, incarnation: int
) -> None:
    """Fill in an empty message where it stands: one that is made apart is copied into the message around it."""
    message.call_id = call_id
    message.operation = invocation.operation
    message.namespace = invocation.namespace
    message.execution_id = invocation.execution_id
    message.step_path = invocation.step_path
    message.attempt = invocation.attempt
    message.idempotency_key = invocation.idempotency_key
    message.remaining_millis = max(1, int(invocation.remaining * 1000))
    message.traceparent = invocation.traceparent
    message.incarnation = incarnation
    _write_payload(message.input, invocation.input)
    if invocation.permit is not None:
        message.permit.permit_id = invocation.permit.permit_id
        message.permit.generation = invocation.permit.generation
    if invocation.details is not None:
        _write_payload(message.heartbeat_details, invocation.details)


def _write_payload(message: payload_pb2.Payload, payload: Payload) -> None:
    message.data = payload.data
    if payload.media_type != JSON:
        message.media_type = payload.media_type
    if payload.metadata:
        message.metadata.update(payload.metadata)


def answer_of(
    result: invocation_pb2.InvocationResult, plugin_id: str, operation: str, instance_id: str, *, session: bool
) -> Answer:
    """
    What an instance answered, as far as others can read it: an output that says that it is JSON and is none becomes a
    failure, OUTPUT_INVALID, of an operation that did its work.
    """
    kind = result.WhichOneof("outcome")
    if kind == "failure":
        return Answer(None, foreign_failure(result.failure), session=session)
    if kind == "output":
        output = payload_from_message(result.output)
        cause = misread(output)
        if not cause:
            return Answer(output, None, session=session)
    else:
        cause = "the result is empty"
    return Answer(None, failure_of(OutputInvalid(plugin_id, operation, cause, instance_id)), session=session)


def details_of(progress: session_pb2.Progress, most: int) -> Payload | None:
    """What the next attempt is to know; None for what has more than `most` bytes, or could not be read by it."""
    if not progress.HasField("details"):
        return None
    details = payload_from_message(progress.details)
    return details if details.size <= most and not misread(details) else None
