"""What goes with a call on its way, and how its end reads for the step."""

from __future__ import annotations

import msgspec

from forgemesh.faults import Code
from forgemesh.faults.workflow import Cancelled, ScheduleToCloseTimeout, StartToCloseTimeout
from forgemesh.orchestrator.application.errand import Errand
from forgemesh.orchestrator.application.order import Order, Running
from forgemesh.orchestrator.domain.events import Dispatch
from forgemesh.orchestrator.domain.failure import Failure, failure_of
from forgemesh.orchestrator.domain.fate import NOTHING_RAN
from forgemesh.orchestrator.ports import Answer, Invocation
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.pick import Picked
from forgemesh.routing.policy import Policy

LEAST = 0.001
"""Seconds that a plugin is given even if there are none left."""

_POLICIES = {policy: policy.name.lower() for policy in Policy}


def dispatch_of(order: Order, picked: Picked, plugin_id: str, now: int) -> Dispatch:
    """How the order leaves at `now` (Unix nanoseconds)."""
    endpoint = picked.endpoint
    return Dispatch(
        instance_id=endpoint.instance_id,
        incarnation=endpoint.incarnation,
        plugin_version=endpoint.plugin_version,
        at=now,
        plugin_id="" if order.target.plugin_id else plugin_id,
        policy="affinity" if order.affinity else _POLICIES[picked.policy],
        candidates=picked.candidates,
        eligible=picked.eligible,
        excluded=tuple([f"{instance}: {reason.value}" for instance, reason in picked.excluded])
        if picked.excluded
        else (),
        trial=picked.permit is not None,
    )


def _end(order: Order) -> int:
    """The moment after which nobody waits for the answer (Unix nanoseconds), the attempt's own limit apart; or 0."""
    if order.deadline and order.close_at:
        return min(order.deadline, order.close_at)
    return order.deadline or order.close_at


def invocation_of(order: Order, now: int, permit: Permit | None) -> Invocation:
    """The call that leaves at `now` (Unix nanoseconds)."""
    (namespace, execution_id, run_id), path = order.key
    remaining = order.timeouts.start_to_close
    end = _end(order)
    if end:
        remaining = max(LEAST, min(remaining, (end - now) / 1e9))
    return Invocation(
        operation=order.target.operation,
        input=order.input,
        namespace=namespace,
        execution_id=execution_id,
        step_path=path,
        attempt=order.attempt,
        traceparent=order.traceparent,
        remaining=remaining,
        details=order.details,
        permit=permit,
        run_id=run_id,
    )


def underway(errand: Errand, dispatch: Dispatch) -> Running:
    """How it stands with an order that an instance has."""
    return Running(
        dispatch=dispatch,
        since=dispatch.at,
        heard_at=errand.heard_at,
        fraction=errand.fraction,
        note=errand.note,
        cancelling=errand.cancelling,
    )


def named(errand: Errand, answer: Answer, failure: Failure) -> Answer:
    """
    The answer with the failure that the step shall see.

    A host knows how long it was given, and not whose limit that was; a call that was taken back before it left, or
    whose host had not begun it, is not lost.
    """
    order = errand.order
    if errand.cancelling and (not answer.sent or (failure.reason in NOTHING_RAN and not answer.accepted)):
        return cancelled(errand, accepted=False, sent=False)
    end, dispatch = _end(order), order.dispatch
    if failure.reason != StartToCloseTimeout.reason or not end or dispatch is None:
        return answer
    if end >= dispatch.at + order.timeouts.start_to_close * 1e9:
        return answer
    return msgspec.structs.replace(answer, failure=_ended_around(order))


def _ended_around(order: Order) -> Failure:
    """The step's time was over, or the execution's."""
    seconds = order.timeouts.schedule_to_close
    if order.close_at and seconds is not None and order.close_at == _end(order):
        return failure_of(ScheduleToCloseTimeout(order.path, seconds), step_path=order.path)
    message = f"the time of execution {order.run[1]!r} was over while an attempt at {order.path!r} ran"
    return Failure(
        Code.DEADLINE_EXCEEDED, "EXECUTION_TIMEOUT", message, {"step_path": order.path}, step_path=order.path
    )


def cancelled(errand: Errand, *, accepted: bool, sent: bool = True) -> Answer:
    """The end of a call that was taken back."""
    path = errand.order.path
    return Answer(None, failure_of(Cancelled(path), step_path=path), accepted, sent=sent)
