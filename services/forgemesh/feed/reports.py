"""Counts of calls as messages."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import report_pb2 as pb
from forgemesh.routing.outcome import LATENCIES, CallCounts, CallFailure, CountKey, PermitOutcome, PermitUse

_USE = {
    PermitUse.STARTED: pb.PERMIT_USE_STARTED,
    PermitUse.SUCCEEDED: pb.PERMIT_USE_SUCCEEDED,
    PermitUse.FAILED: pb.PERMIT_USE_FAILED,
    PermitUse.RETURNED: pb.PERMIT_USE_RETURNED,
}
LONGEST_WORD = 128
LONGEST_MESSAGE = 1000
"""Characters of what a failure says that are read."""
_USE_READ = {number: use for use, number in _USE.items()}
_COUNTS = ("started", "succeeded", "failed", "slow", "overloaded", "ignored", "failures_in_a_row")


def counts_to_message(key: CountKey, counts: CallCounts, in_flight: int) -> pb.CallCounts:
    """What a caller has counted by one key."""
    message = pb.CallCounts(**key._asdict(), in_flight=in_flight, latencies=counts.latencies)
    for name in _COUNTS:
        setattr(message, name, getattr(counts, name))
    if counts.last_failure is not None:
        message.last_failure.CopyFrom(failure_to_message(counts.last_failure))
    return message


def counts_from_message(message: pb.CallCounts) -> tuple[CountKey, CallCounts]:
    """What a caller has counted, and by which key."""
    key = CountKey(message.plugin_id, message.instance_id, message.incarnation, message.generation)
    counts = CallCounts(
        **{name: getattr(message, name) for name in _COUNTS},
        last_failure=failure_from_message(message.last_failure) if message.HasField("last_failure") else None,
        latencies=tuple(message.latencies[:LATENCIES]),
    )
    return key, counts


def failure_to_message(failure: CallFailure) -> pb.CallFailure:
    """A failure as the cause of an open circuit."""
    return pb.CallFailure(
        code=failure.code, reason=failure.reason, message=failure.message, traceparent=failure.traceparent
    )


def failure_from_message(message: pb.CallFailure) -> CallFailure:
    """A failure as the cause of an open circuit, shortened should its teller not have done so."""
    return CallFailure(
        code=message.code,
        reason=message.reason[:LONGEST_WORD],
        message=message.message[:LONGEST_MESSAGE],
        traceparent=message.traceparent[:LONGEST_WORD],
    )


def permit_to_message(outcome: PermitOutcome) -> pb.PermitOutcome:
    """What became of a permit."""
    message = pb.PermitOutcome(
        permit_id=outcome.permit_id, use=_USE[outcome.use], remaining_millis=max(0, round(outcome.remaining * 1000))
    )
    if outcome.failure is not None:
        message.failure.CopyFrom(failure_to_message(outcome.failure))
    return message


def permit_from_message(message: pb.PermitOutcome) -> PermitOutcome | None:
    """What became of a permit; None if this release does not know the word for it."""
    use = _USE_READ.get(message.use)
    if use is None:
        return None
    failure = failure_from_message(message.failure) if message.HasField("failure") else None
    return PermitOutcome(message.permit_id, use, failure, message.remaining_millis / 1000)
