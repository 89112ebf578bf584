"""Invocations and their results between a link and its messages."""

from __future__ import annotations

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.faults.plugin import OutputInvalid
from forgemesh.orchestrator.codec.payloads import foreign_failure, payload_from_message
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.payload import JSON, Payload
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


def answer_of(result: invocation_pb2.InvocationResult, *, session: bool) -> Answer:
    kind = result.WhichOneof("outcome")
    if kind == "output":
        return Answer(payload_from_message(result.output), None, session=session)
    if kind == "failure":
        return Answer(None, foreign_failure(result.failure), session=session)
    return Answer(None, failure_of(OutputInvalid("plugin", "operation", "the result is empty")), session=session)
