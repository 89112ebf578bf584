"""Sends calls to instances, and counts those that are there."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from forgemesh.orchestrator.dispatch.call_deadlines import CallDeadlines
from forgemesh.orchestrator.dispatch.call_request import Crowded, Leaving, WaitReason
from forgemesh.orchestrator.dispatch.call_state import CallState
from forgemesh.orchestrator.dispatch.deadlines import Deadlines
from forgemesh.orchestrator.dispatch.hedging import Hedging
from forgemesh.orchestrator.dispatch.in_flight_call import HostCall, InFlightCall
from forgemesh.orchestrator.dispatch.invocation_builder import LEAST, dispatch_of, invocation_of
from forgemesh.orchestrator.dispatch.manifests import Manifests
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.pool import Pool
from forgemesh.orchestrator.dispatch.ports import Invocation
from forgemesh.orchestrator.dispatch.wait_record import WaitRecord
from forgemesh.routing.pick import NoPick, Picked

LEAVING = Leaving()


class CallSender:
    """
    Knows how many calls are with instances, at most `max_in_flight` at a time (0: no limit); a second call (hedging.py)
    counts as one more.

    `clock` gives Unix nanoseconds.
    """

    def __init__(
        self,
        manifests: Manifests,
        recorder: OutcomeRecorder,
        deadlines: Deadlines,
        waits: WaitRecord,
        clock: Callable[[], int],
        max_in_flight: int,
    ) -> None:
        self._manifests = manifests
        self._recorder = recorder
        self._deadlines = deadlines
        self._waits = waits
        self._clock = clock
        self._limit = max_in_flight
        self._crowded = Crowded(max_in_flight)
        self.hedging = Hedging(manifests)
        self.timers = CallDeadlines(deadlines, recorder.awake)
        self.in_flight = 0

    def crowded(self) -> Crowded | None:
        """Why nothing may be sent, whatever it is."""
        return self._crowded if self._limit and self.in_flight >= self._limit else None

    def send(self, inflight: InFlightCall) -> WaitReason | None:
        """Give the call to an instance, or say why it waits; one that a bug keeps back does not hold up others."""
        try:
            return self._send(inflight)
        except Exception as error:  # noqa: BLE001 - the others that wait have nothing to do with it
            inflight.owner.broke(inflight, error)
            return None

    def _send(self, inflight: InFlightCall) -> WaitReason | None:
        if self._limit and self.in_flight >= self._limit:
            return self._crowded
        if inflight.lifts:
            return LEAVING
        request, now = inflight.request, self._recorder.clock()
        found = inflight.target_queue.route.find(request, now)
        if isinstance(found, NoPick):
            return found
        pool, picked = found
        version, permit = picked.endpoint.plugin_version, picked.permit
        if self._manifests.settle(request, pool.plugin_id, version) and permit is not None:
            return self._send(inflight)  # it must not be repeated: a trial call only if there is no other way
        held_back = pool.holds_back() if request.retry else None
        if held_back is not None:
            return held_back
        if inflight.blocked:
            self._waits.unblocked(inflight)
            return LEAVING
        at = self._clock()
        invocation = invocation_of(request, at, permit)
        self._call(inflight, pool, picked, invocation, now, at, request.retry)
        self.timers.begin(inflight)
        if request.idempotent:
            after = self.hedging.late_after(request, pool.plugin_id, invocation, pool.snapshot.policy)
            if after:
                inflight.hedge_alarm = self._deadlines.set(after, self._late, inflight)
        return None

    def _late(self, inflight: InFlightCall) -> None:
        """Its answer is late: make the call a second time, if that may be."""
        inflight.hedge_alarm = None
        first, request = inflight.call, inflight.request
        if first is None or inflight.state is not CallState.SENT or not self.hedging.has_saved or self.crowded():
            return
        pool, version = first.pool, first.dispatch.plugin_version
        now, at = self._recorder.clock(), self._clock()
        has_it = first.counter.key.instance_id
        elsewhere = msgspec.structs.replace(request, tried=request.tried | {has_it})
        suits = self.hedging.suits(request, inflight.target_queue.route, pool.plugin_id, version)
        found = pool.pick(elsewhere, suits, now)
        if isinstance(found, NoPick) or found.permit is not None or found.endpoint.instance_id == has_it:
            return
        if pool.holds_back() is None:
            left = max(LEAST, first.began + first.given - now)
            invocation = msgspec.structs.replace(invocation_of(request, at, None), remaining=left)
            self.hedging.spend()
            self._call(inflight, pool, found, invocation, now, at, is_retry=True)

    def _call(
        self,
        inflight: InFlightCall,
        pool: Pool,
        picked: Picked,
        invocation: Invocation,
        now: float,
        at: int,
        is_retry: bool,
    ) -> None:
        link, counter = pool.take(picked)
        policy, request = pool.snapshot.policy, inflight.request
        call = HostCall(
            counter,
            now,
            invocation.remaining,
            policy.slow_call_of(request.target.operation),
            request.traceparent,
            picked.permit,
            policy.circuit.count_exceptions,
            inflight=inflight,
            pool=pool,
            link=link,
            dispatch=dispatch_of(request, picked, pool.plugin_id, at),
            is_retry=is_retry,
        )
        inflight.left(call)
        self.in_flight += 1
        if is_retry:
            pool.retries += 1
        self._recorder.departed(call)
        call.number = link.invoke(invocation, call)
        pool.sent(picked.endpoint.instance_id, link)

    def take_back(self, call: HostCall, *, outrun: bool = False) -> None:
        """Nobody waits for it any more; `outrun`: because one that was made later was answered before it."""
        if outrun:
            self._recorder.outrun(call)
        else:
            self._recorder.taken_back(call)
        self.gone(call)
        call.link.cancel(call.number)

    def gone(self, call: HostCall) -> None:
        """It is not with its instance any more."""
        self.in_flight -= 1
        if call.is_retry:
            call.pool.retries -= 1

    def hedge_no_more(self, inflight: InFlightCall) -> None:
        """No second call is to be made."""
        if inflight.hedge_alarm is not None:
            self._deadlines.call_off(inflight.hedge_alarm)
            inflight.hedge_alarm = None
