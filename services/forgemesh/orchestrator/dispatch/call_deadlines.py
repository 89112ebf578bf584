"""The deadlines of a call while an instance has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from forgemesh.faults.workflow import HeartbeatTimeout, StartToCloseTimeout
from forgemesh.orchestrator.dispatch.deadlines import TICKS, Deadlines
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall


class CallDeadlines:
    """
    Tells the owner of a call when its time is over (start_to_close), or when it has been silent for too long
    (heartbeat). The heartbeat of one that goes alone, by unary Invoke, is not looked at: nothing can come back there
    before the answer. A call has one alarm at a time, whatever it is for.

    `awake` is monotonic seconds in which this process could hear a call.
    """

    def __init__(self, deadlines: Deadlines, awake: Callable[[], float]) -> None:
        self._deadlines = deadlines
        self._awake = awake

    def begin(self, inflight: InFlightCall) -> None:
        """An instance is given the call."""
        timeouts = inflight.request.timeouts
        if timeouts.heartbeat is None or timeouts.heartbeat >= timeouts.start_to_close:
            if inflight.alarm is not None:
                self._deadlines.call_off(inflight.alarm)
            inflight.alarm = self._deadlines.set(timeouts.start_to_close, self._close_too_late, inflight)
            return
        inflight.silent_since = self._awake()
        inflight.close_at = asyncio.get_running_loop().time() + timeouts.start_to_close
        self.set(inflight, timeouts.heartbeat, self._listen)

    def set(self, inflight: InFlightCall, seconds: float, then: Callable[[InFlightCall], None]) -> None:
        """Ring then, and not any more for what the alarm was set for before."""
        if inflight.alarm is not None:
            self._deadlines.call_off(inflight.alarm)
        inflight.alarm = self._deadlines.set(seconds, then, inflight)

    def call_off(self, inflight: InFlightCall) -> None:
        """It does not matter any more how long the call takes."""
        if inflight.alarm is not None:
            self._deadlines.call_off(inflight.alarm)
            inflight.alarm = None

    def _listen(self, inflight: InFlightCall) -> None:
        """Has it said anything since the alarm was set?"""
        call, heartbeat = inflight.call, inflight.request.timeouts.heartbeat
        assert call is not None
        assert heartbeat is not None
        left = inflight.close_at - asyncio.get_running_loop().time()
        silence = self._awake() - inflight.silent_since
        if left < 1 / TICKS:
            self._close_too_late(inflight)
        elif not call.link.hears_progress(call.number):
            self.set(inflight, left, self._close_too_late)
        elif silence > heartbeat - 1 / TICKS:
            inflight.alarm = None
            inflight.owner.timed_out(inflight, HeartbeatTimeout(inflight.request.path, heartbeat))
        else:
            self.set(inflight, min(left, heartbeat - silence), self._listen)

    def _close_too_late(self, inflight: InFlightCall) -> None:
        inflight.alarm = None
        seconds = inflight.request.timeouts.start_to_close
        inflight.owner.timed_out(inflight, StartToCloseTimeout(inflight.request.path, seconds))
