"""Whether a call that did not end well may have had its effect; what is not known to be safe is in doubt."""

from __future__ import annotations

from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.refusals import NOTHING_RAN
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.values.failure import Failure

_LOST_WITHOUT_DISPATCH = frozenset({"ORCHESTRATOR_LOST", "SCHEDULE_TO_CLOSE_TIMEOUT"})
"""Ends that nobody who dispatched the call told; their metadata say whether it had been sent."""


def is_unknown(failure: Failure, dispatch: Dispatch | None, *, told: bool) -> bool:
    """
    Whether the call may have taken effect; without a dispatch it never left.

    `told`: the plugin itself told the failure as the outcome of its operation, or refused the call by the protocol. A
    reason of its author's own is then as good as any result. One of the mesh's own reasons is not: it says that nobody
    waited for the end, that the operation broke off, or that its result got lost.
    """
    if dispatch is None:
        return failure.reason in _LOST_WITHOUT_DISPATCH and _said(failure) != "false"
    return not told or (failure.reason in Fault.by_reason and failure.reason not in NOTHING_RAN)


def is_in_doubt(fact: e.AttemptFailed) -> bool:
    """Whether the attempt may have taken effect, for events of every release."""
    if fact.fate_unknown is not None:
        return fact.fate_unknown
    reason = fact.failure.reason
    if reason == "IN_DOUBT":
        return True
    if reason in _LOST_WITHOUT_DISPATCH:
        return _said(fact.failure) != "false"
    if fact.dispatch is None:  # what was lost with the orchestrator while it was being stopped
        return _said(fact.failure) == "true"
    return reason in _SAID_BY_REASON and fact.dispatch.accepted


_SAID_BY_REASON = frozenset({"HOST_LOST", "START_TO_CLOSE_TIMEOUT", "HEARTBEAT_TIMEOUT", "CANCELLED", "INTERRUPTED"})
"""Reasons that meant doubt, for a call that had been taken on, before events said it."""


def _said(failure: Failure) -> str:
    """Whether it had been sent: "true", "false" or nothing; earlier releases wrote "True" and "False"."""
    return failure.metadata.get("sent", "").lower()
