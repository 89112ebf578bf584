"""Invocations and their results between a link and its messages."""

from __future__ import annotations

import logging

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.chassis.counting import excess_of
from forgemesh.faults.plugin import InputInvalid, OutputInvalid
from forgemesh.orchestrator.dispatch.ports import Answer, Invocation
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import JSON, Payload, misread
from forgemesh.orchestrator.values.retry import UNCOUNTED, UNMADE
from forgemesh.orchestrator.wire.payloads import foreign_failure, payload_from_message

_log = logging.getLogger(__name__)

SURROUNDINGS = 512
"""Bytes of an invocation besides what is of any length, near enough."""
MAX_INLINE = 256 * 1024
"""Bytes of input above which a call goes by Invoke, so that it does not hold up the session."""
MAX_NOTE = 1024
"""Characters of what a plugin says about its progress."""
MAX_DETAILS = 64 * 1024
"""Bytes of what a plugin wants its next attempt to know; larger ones are not kept."""


def size_of(invocation: Invocation) -> int:
    """Bytes in a message, near enough: all that is of any length counts."""
    details = invocation.details.size if invocation.details is not None else 0
    path = invocation.step_path
    paths = 2 * (len(path) if path.isascii() else len(path.encode()))
    return invocation.input.size + details + paths + SURROUNDINGS


def goes_alone(invocation: Invocation) -> bool:
    """Whether it goes by Invoke, so that it does not hold up the session, nor what is on it."""
    return invocation.input.size > MAX_INLINE or (
        invocation.details is not None and invocation.details.size > MAX_DETAILS
    )


def progress_of(progress: session_pb2.Progress) -> tuple[float, str, Payload | None]:
    """What a call says of itself, within bounds."""
    fraction = min(1.0, max(0.0, progress.fraction))  # NaN is 0
    details, size = None, progress.ByteSize()
    if progress.HasField("details") and not excess_of(progress, size):
        said = payload_from_message(progress.details)
        # the next attempt could not read it, or it is too large to go with every one
        details = said if said.size <= MAX_DETAILS and not misread(said) else None
    return fraction, progress.note[:MAX_NOTE], details


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


def add_invocation(frame: session_pb2.SessionRequest, invocation: Invocation, call_id: int, incarnation: int) -> bool:
    """Whether the call can be said in a message; what cannot takes none of the others with it."""
    try:
        write_invocation(frame.invocations.add(), invocation, call_id, incarnation)
    except (ValueError, TypeError, OverflowError):
        del frame.invocations[-1]
        _log.exception("a call of execution %s, step %s, cannot be sent", invocation.execution_id, invocation.step_path)
        return False
    return True


def unsayable(plugin_id: str, invocation: Invocation) -> Answer:
    """What becomes of a call that cannot be said in a message."""
    fault = InputInvalid(plugin_id, invocation.operation, "it cannot be said in a message")
    return Answer(None, failure_of(fault), accepted=False)


def _write_payload(message: payload_pb2.Payload, payload: Payload) -> None:
    message.data = payload.data
    if payload.media_type != JSON:
        message.media_type = payload.media_type
    if payload.metadata:
        message.metadata.update(payload.metadata)


def answer_of(
    result: invocation_pb2.InvocationResult, whose: tuple[str, str, str], *, session: bool, size: int | None = None
) -> Answer:
    """
    What an instance answered, as far as others can read it: an output that says that it is JSON and is none, a failure
    that only the mesh can tell, and what holds more than is taken, becomes a failure of an operation that did its work.
    `whose` are plugin, operation and instance; it has at most `size` bytes, if that is known.
    """
    kind, excess = result.WhichOneof("outcome"), excess_of(result, result.ByteSize() if size is None else size)
    pretended = kind == "failure" and _is_pretended(result)
    if kind == "failure" and excess is None and not pretended:
        return Answer(None, foreign_failure(result.failure), session=session)
    plugin_id, operation, instance_id = whose
    cause = f"the result of instance {instance_id!r} holds neither an output nor a failure"
    if excess is not None:
        cause = f"{excess.place}: {excess}"
    elif pretended:
        said = foreign_failure(result.failure)
        cause = f"a failure with the reason {said.reason}, which only the mesh gives ({said.message})"
    elif kind == "output":
        output = payload_from_message(result.output)
        cause = misread(output)
        if not cause:
            return Answer(output, None, session=session)
    return Answer(None, failure_of(OutputInvalid(plugin_id, operation, cause, instance_id)), session=session)


def _is_pretended(result: invocation_pb2.InvocationResult) -> bool:
    """
    Whether an operation gives as its own a reason by which an attempt is not counted: it would be called for ever. What
    says that the call was not made is true of a call that did not run, and of no other.
    """
    reason = result.failure.reason
    return reason in UNCOUNTED and (reason not in UNMADE or result.ran_micros > 0)
