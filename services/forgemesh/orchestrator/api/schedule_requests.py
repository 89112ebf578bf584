"""Requests of the schedules' API as the values that its use cases take, with every mistake in them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1 import schedule_pb2
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.orchestrator.api.requests import text_of
from forgemesh.orchestrator.execution.commands.starts import CallerTrace
from forgemesh.orchestrator.schedules.schedule import Overlap, Pause, Plan
from forgemesh.orchestrator.store.schedules import OVERLAP, nanos, plan_from_message
from forgemesh.orchestrator.values.payload import misread


def plan_of(message: schedule_pb2.SchedulePlan) -> tuple[Plan, list[Violation]]:
    """The plan, and what in it is not of this release."""
    number = message.overlap_policy
    mistakes = [] if _known(number) else [Violation("plan.overlap_policy", _unknown(number))]
    plan = plan_from_message(message)
    cause = misread(plan.target.input)
    return plan, [*mistakes, Violation("plan.target.input", cause)] if cause else mistakes


def overlap_of(number: int) -> Overlap | None:
    """None if nothing is said; raises InvalidRequest for a policy that does not exist."""
    if not _known(number):
        raise InvalidRequest([Violation("overlap_policy", _unknown(number))])
    return OVERLAP.get(number)


def pause_of(message: schedule_pb2.SchedulePause, now: int) -> Pause:
    """A pause from now on."""
    return Pause(text_of(message.by), text_of(message.reason), now)


def moment_of(stamp: Timestamp, *, given: bool) -> int:
    """0 if it is not given."""
    return nanos(stamp) if given else 0


def link_of(caller: CallerTrace | None) -> str:
    """The caller's span, as an execution links to it."""
    return f"{caller.trace_id.hex()}-{caller.span_id.hex()}" if caller is not None else ""


def _known(number: int) -> bool:
    return number in OVERLAP or number == schedule_pb2.OVERLAP_POLICY_UNSPECIFIED


def _unknown(number: int) -> str:
    return f"{number} is no policy that this release knows"
