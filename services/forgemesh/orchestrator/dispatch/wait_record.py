"""What is on record about calls that wait."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.call_request import Listener, WaitReason
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall


class WaitRecord:
    """
    Tells the listener why calls wait, and that they do not any more, each once.

    A call that is on record as blocked is one that has not left: so it does not leave until it is on record that it is
    not blocked any more, which the listener says afterwards (`released`).
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def blocked(self, inflight: InFlightCall, why: WaitReason) -> None:
        """It waits for this; told if that is another reason than the one on record."""
        if inflight.blocked != why.reason.value:
            inflight.blocked = why.reason.value
            self._listener.blocked(inflight.request, why)

    def unblocked(self, inflight: InFlightCall) -> None:
        """It may leave, as soon as that is on record."""
        inflight.blocked = ""
        inflight.lifts += 1
        self._listener.unblocked(inflight.request)

    def released(self, inflight: InFlightCall) -> bool:
        """One of those is on record; whether nothing keeps the call from leaving now."""
        if not inflight.lifts:
            return False
        inflight.lifts -= 1
        return not inflight.lifts
