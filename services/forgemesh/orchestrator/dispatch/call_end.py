"""How the end of a call reads for the step that asked for it."""

from __future__ import annotations

import msgspec

from forgemesh.faults import Code
from forgemesh.faults.workflow import Cancelled, ScheduleToCloseTimeout, StartToCloseTimeout
from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.invocation_builder import end_of
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.dispatch.refusals import NOTHING_RAN
from forgemesh.orchestrator.values.failure import Failure, failure_of


def told_to_step(request: CallRequest, dispatch: Dispatch | None, answer: Answer, *, cancelling: bool) -> Answer:
    """
    The answer with the failure that the step shall see.

    A host knows how long it was given, and not whose limit that was; a call that was taken back before it left, or
    whose host had not begun it, is not lost.
    """
    failure = answer.failure
    if failure is None:
        return answer
    if cancelling and (not answer.sent or (failure.reason in NOTHING_RAN and not answer.accepted)):
        return cancelled(request, accepted=False, sent=False)
    end = end_of(request)
    if failure.reason != StartToCloseTimeout.reason or not end or dispatch is None:
        return answer
    if end >= dispatch.at + request.timeouts.start_to_close * 1e9:
        return answer
    return msgspec.structs.replace(answer, failure=_ended_around(request))


def cancelled(request: CallRequest, *, accepted: bool, sent: bool = True) -> Answer:
    """The end of a call that was taken back."""
    return Answer(None, failure_of(Cancelled(request.path), step_path=request.path), accepted, sent=sent)


def _ended_around(request: CallRequest) -> Failure:
    """The step's time was over, or the execution's."""
    seconds = request.timeouts.schedule_to_close
    if request.close_at and seconds is not None and request.close_at == end_of(request):
        return failure_of(ScheduleToCloseTimeout(request.path, seconds), step_path=request.path)
    message = f"the time of execution {request.run[1]!r} was over while an attempt at {request.path!r} ran"
    return Failure(
        Code.DEADLINE_EXCEEDED, "EXECUTION_TIMEOUT", message, {"step_path": request.path}, step_path=request.path
    )
