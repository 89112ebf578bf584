"""What goes with a call on its way to an instance."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.ports import Invocation
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.pick import Picked
from forgemesh.routing.policy import Policy

LEAST = 0.001
"""Seconds that a plugin is given even if there are none left."""

_POLICIES = {policy: policy.name.lower() for policy in Policy}


def dispatch_of(request: CallRequest, picked: Picked, plugin_id: str, now: int) -> Dispatch:
    """How the call leaves at `now` (Unix nanoseconds)."""
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


def end_of(request: CallRequest) -> int:
    """The moment after which nobody waits for the answer (Unix nanoseconds), the attempt's own limit apart; or 0."""
    if request.deadline and request.close_at:
        return min(request.deadline, request.close_at)
    return request.deadline or request.close_at


def invocation_of(request: CallRequest, now: int, permit: Permit | None) -> Invocation:
    """The call that leaves at `now` (Unix nanoseconds)."""
    (namespace, execution_id, run_id), path = request.key
    remaining = request.timeouts.start_to_close
    end = end_of(request)
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
