"""What goes with a call on its way, and how its end reads for the step."""

from __future__ import annotations

import msgspec

from forgemesh.faults import Code
from forgemesh.faults.workflow import Cancelled, ScheduleToCloseTimeout, StartToCloseTimeout
from forgemesh.orchestrator.dispatch.call_request import CallRequest, Underway
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall
from forgemesh.orchestrator.dispatch.ports import Answer, Invocation
from forgemesh.orchestrator.dispatch.refusals import NOTHING_RAN
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.pick import Picked
from forgemesh.routing.policy import Policy

LEAST = 0.001
"""Seconds that a plugin is given even if there are none left."""

_POLICIES = {policy: policy.name.lower() for policy in Policy}


def dispatch_of(request: CallRequest, picked: Picked, plugin_id: str, now: int) -> Dispatch:
    """How the order leaves at `now` (Unix nanoseconds)."""
    endpoint = picked.endpoint
    return Dispatch(
        instance_id=endpoint.instance_id,
        incarnation=endpoint.incarnation,
        plugin_version=endpoint.plugin_version,
        at=now,
        plugin_id="" if request.target.plugin_id else plugin_id,
        policy="affinity" if request.affinity else _POLICIES[picked.policy],
        candidates=picked.candidates,
        eligible=picked.eligible,
        excluded=tuple([f"{instance}: {reason.value}" for instance, reason in picked.excluded])
        if picked.excluded
        else (),
        trial=picked.permit is not None,
    )


def ran_at(request: CallRequest, answer: Answer) -> Dispatch | None:
    """Where and how what was answered ran; None if it has not left."""
    dispatch = request.dispatch
    if dispatch is None or not answer.sent or (answer.session and answer.accepted):
        return dispatch if answer.sent else None
    return msgspec.structs.replace(dispatch, session=answer.session, accepted=answer.accepted)


def _end(request: CallRequest) -> int:
    """The moment after which nobody waits for the answer (Unix nanoseconds), the attempt's own limit apart; or 0."""
    if request.deadline and request.close_at:
        return min(request.deadline, request.close_at)
    return request.deadline or request.close_at


def invocation_of(request: CallRequest, now: int, permit: Permit | None) -> Invocation:
    """The call that leaves at `now` (Unix nanoseconds)."""
    (namespace, execution_id, run_id), path = request.key
    remaining = request.timeouts.start_to_close
    end = _end(request)
    if end:
        remaining = max(LEAST, min(remaining, (end - now) / 1e9))
    return Invocation(
        operation=request.target.operation,
        input=request.input,
        namespace=namespace,
        execution_id=execution_id,
        step_path=path,
        attempt=request.attempt,
        traceparent=request.traceparent,
        remaining=remaining,
        details=request.details,
        permit=permit,
        run_id=run_id,
    )


def underway(inflight: InFlightCall, dispatch: Dispatch) -> Underway:
    """How it stands with an order that an instance has."""
    return Underway(
        dispatch=dispatch,
        since=dispatch.at,
        heard_at=inflight.heard_at,
        fraction=inflight.fraction,
        note=inflight.note,
        cancelling=inflight.cancelling,
    )


def named(inflight: InFlightCall, answer: Answer, failure: Failure) -> Answer:
    """
    The answer with the failure that the step shall see.

    A host knows how long it was given, and not whose limit that was; a call that was taken back before it left, or
    whose host had not begun it, is not lost.
    """
    request = inflight.request
    if inflight.cancelling and (not answer.sent or (failure.reason in NOTHING_RAN and not answer.accepted)):
        return cancelled(inflight, accepted=False, sent=False)
    end, dispatch = _end(request), request.dispatch
    if failure.reason != StartToCloseTimeout.reason or not end or dispatch is None:
        return answer
    if end >= dispatch.at + request.timeouts.start_to_close * 1e9:
        return answer
    return msgspec.structs.replace(answer, failure=_ended_around(request))


def _ended_around(request: CallRequest) -> Failure:
    """The step's time was over, or the execution's."""
    seconds = request.timeouts.schedule_to_close
    if request.close_at and seconds is not None and request.close_at == _end(request):
        return failure_of(ScheduleToCloseTimeout(request.path, seconds), step_path=request.path)
    message = f"the time of execution {request.run[1]!r} was over while an attempt at {request.path!r} ran"
    return Failure(
        Code.DEADLINE_EXCEEDED, "EXECUTION_TIMEOUT", message, {"step_path": request.path}, step_path=request.path
    )


def cancelled(inflight: InFlightCall, *, accepted: bool, sent: bool = True) -> Answer:
    """The end of a call that was taken back."""
    path = inflight.request.path
    return Answer(None, failure_of(Cancelled(path), step_path=path), accepted, sent=sent)
