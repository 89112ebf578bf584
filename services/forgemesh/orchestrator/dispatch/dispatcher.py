"""
Sends open attempts to instances, and sees to it that each of them ends.

A CallRequest becomes an InFlightCall, which stands in one of the states of call_state.py until it is OVER. If nobody
waits for the same target (target_queues.py), the CallSender asks the target's route for an instance, and gives the
invocation to that instance's link. If none can take it, the reason comes back, and the call waits in the PendingQueue,
which has it sent when something changes: a snapshot, a permit, an answer that makes room.

A link tells a HostCall of its answer, and that comes here as `answered`. An answer that says that the host never saw
the call sends it on its way again; any other one is counted for the instance, ends the call, and goes to the listener,
which is told exactly once. So does everything else that can end a call: its deadlines, a cancellation, a refusal of its
target, a bug. Nothing here waits: all of it runs on the loop, from one event to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from forgemesh.chassis.containment import contained
from forgemesh.faults import Fault
from forgemesh.faults.workflow import ScheduleToStartTimeout
from forgemesh.orchestrator.dispatch.active_calls import ActiveCalls
from forgemesh.orchestrator.dispatch.call_end import cancelled, told_to_step
from forgemesh.orchestrator.dispatch.call_request import (
    CallKey,
    CallRequest,
    Listener,
    RunKey,
    Stopping,
    Underway,
    Waiting,
    WaitReason,
    Wanted,
)
from forgemesh.orchestrator.dispatch.call_sender import CallSender
from forgemesh.orchestrator.dispatch.call_state import CallEvent, CallState
from forgemesh.orchestrator.dispatch.deadlines import Deadlines
from forgemesh.orchestrator.dispatch.in_flight_call import HostCall, InFlightCall
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.pending_queue import PendingQueue
from forgemesh.orchestrator.dispatch.ports import Answer, Hosts
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.dispatch.router import InterfaceRoute, Route
from forgemesh.orchestrator.dispatch.target_queues import TargetQueues
from forgemesh.orchestrator.dispatch.wait_record import WaitRecord
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.routing.pick import NoPick

CANCEL_GRACE = 5.0
"""Seconds that a cancelled call has to answer before it counts as ended."""
STOPPING = Stopping()


class Dispatcher:
    """
    Every request leaves as soon as an instance may take it, at most `max_in_flight` (0: no limit) of all at once. One
    that could not be sent after all goes elsewhere; its attempt has not begun.

    `clock` gives Unix nanoseconds.
    """

    def __init__(
        self,
        hosts: Hosts,
        recorder: OutcomeRecorder,
        providers: Providers,
        clock: Callable[[], int],
        listener: Listener,
        *,
        max_in_flight: int = 0,
    ) -> None:
        self._hosts, self._recorder, self._clock, self._listener = hosts, recorder, clock, listener
        self._manifests = providers.manifests
        self.active = ActiveCalls()
        self._target_queues = TargetQueues(hosts, recorder, providers)
        self._waits = WaitRecord(listener)
        self._deadlines = Deadlines(lambda one, bug: self.broke(one, bug) if isinstance(one, InFlightCall) else None)
        self._sender = CallSender(self._manifests, recorder, self._deadlines, self._waits, clock, max_in_flight)
        self._pending = PendingQueue(self._sender, self._waits, recorder, self._deadlines, clock)
        self._stopped: asyncio.Event | None = None
        recorder.count_waiting(self._pending.demands)
        recorder.picks_changed.add(self._instances_changed)
        hosts.on_change(self._instances_changed)
        providers.on_change(self._providers_changed)
        self._manifests.on_change(self._stir)

    @property
    def in_flight(self) -> int:
        """How many calls are with instances."""
        return self._sender.in_flight

    def queues(self) -> list[tuple[str, int, int]]:
        """See PendingQueue.queues."""
        return self._pending.queues()

    @property
    def wanted(self) -> set[Wanted]:
        """What requests wait for that nobody serves."""
        return self._pending.wanted

    def send(self, request: CallRequest) -> None:
        """Carry the request out, now or as soon as an instance may take it; never, once stopped."""
        target_queue = self._target_queues.of(request)
        inflight = InFlightCall(request, self, target_queue, request.since or self._clock(), request.blocked)
        if self._stopped is not None:
            self._keep(inflight)
            return
        self.active.add(inflight)
        self._go(inflight)

    def released(self, key: CallKey, attempt: int) -> None:
        """That a request is not blocked any more is on record."""
        inflight = self.active.find(key)
        if inflight is not None and inflight.request.attempt == attempt and self._waits.released(inflight):
            self._pending.released(inflight)

    def cancel(self, key: CallKey) -> None:
        """Take a request back: one that waits ends now, one that an instance has within the grace."""
        inflight = self.active.find(key)
        if inflight is None or inflight.state is CallState.CANCELLING:
            return
        call = inflight.call
        if call is None:
            self._finish(inflight, cancelled(inflight.request, accepted=False, sent=False), CallEvent.CANCELLED)
            return
        self._hedge_no_more(inflight, inflight.cancelled())
        call.link.cancel(call.number)
        if inflight.call is call:
            self._sender.timers.set(inflight, CANCEL_GRACE, self._give_up)

    def forget(self, key: CallKey) -> None:
        """Take a request back and tell nobody what becomes of it."""
        inflight = self.active.find(key)
        if inflight is not None:
            self._forget(inflight)

    def forget_all(self, run: RunKey) -> None:
        """Take back all that an execution has asked for, and tell nobody what becomes of it."""
        for inflight in self.active.of(run):
            with contained(f"the call of step {inflight.request.path} of execution {run[1]}"):
                self._forget(inflight)

    def explain(self, key: CallKey) -> Waiting | Underway | None:
        """How it stands with a request; None if it has ended, or never was."""
        inflight = self.active.find(key)
        if inflight is None:
            return None
        dispatch = inflight.dispatch
        return self._pending.waiting(inflight) if dispatch is None else inflight.underway(dispatch)

    async def stop(self, grace: float) -> None:
        """
        Send nothing any more; return once every call that is under way has ended, or after `grace` seconds.

        The listener knows then of every request that has not left that it is blocked.
        """
        self._stopped = asyncio.Event()
        self._pending.closed = True
        self._look_whether_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._stopped.wait()
        for inflight in self.active.all():
            call = inflight.call
            if call is None:
                self._keep(inflight)
            elif inflight.state is CallState.SENT and not call.link.has_left(call.number):
                call.link.cancel(call.number)  # answered as not sent

    def answered(self, call: HostCall, answer: Answer) -> None:
        """See in_flight_call.Owner; of two calls the first one that decides counts, and what comes late nothing."""
        inflight, failure = call.inflight, answer.failure
        if call is not inflight.call and call is not inflight.second:
            return
        event = CallEvent.DECIDED
        if failure is not None and failure.retryable:
            event = CallEvent.FAILED if answer.sent else CallEvent.UNSENT
        if inflight.second is None:
            self._finish(inflight, answer, event)
        elif event is CallEvent.DECIDED:
            outrun = call is inflight.second
            self._take_back(inflight.decided_by(call), outrun=outrun)
            self._finish(inflight, answer, event)
        else:
            self._recorder.ended(call, answer)
            inflight.goes_on_without(call, event)
            self._sender.gone(call)
            self._stir(call.pool.plugin_id)

    def progressed(self, inflight: InFlightCall, fraction: float, note: str, details: Payload | None) -> None:
        """See in_flight_call.Owner."""
        if inflight.state is not CallState.OVER:
            inflight.silent_since = self._recorder.awake()
            inflight.heard_at, inflight.fraction, inflight.note = self._clock(), fraction, note
            self._listener.progressed(inflight.request, fraction, note, details)

    def timed_out(self, inflight: InFlightCall, fault: Fault) -> None:
        """See in_flight_call.Owner."""
        call = inflight.call
        assert call is not None
        self._hedge_no_more(inflight, inflight.second_called_off())
        if not call.link.has_left(call.number):
            call.link.cancel(call.number)  # its time has not begun: it is answered on the spot, and goes elsewhere
        if inflight.call is call:
            self._finish(inflight, Answer(None, failure_of(fault, retryable=True)), CallEvent.TIMED_OUT)
            call.link.cancel(call.number)

    def refused(self, inflight: InFlightCall, why: WaitReason) -> None:
        """See in_flight_call.Owner."""
        assert isinstance(why, NoPick)
        answer = Answer(None, failure_of(why.fault()), accepted=False, sent=False)
        self._finish(inflight, answer, CallEvent.REFUSED)

    def broke(self, inflight: InFlightCall, error: Exception) -> None:
        """See in_flight_call.Owner; its execution is told when nobody is in the midst of a queue."""
        sent = inflight.dispatch is not None
        if inflight.state is not CallState.OVER:
            with contained(f"the call of step {inflight.request.path} of execution {inflight.request.run[1]}"):
                self._forget(inflight)
        inflight.target_queue.queue.remove(inflight.request.key)
        asyncio.get_running_loop().call_soon(partial(self._listener.broke, inflight.request, error, sent=sent))

    def _go(self, inflight: InFlightCall) -> None:
        if inflight.target_queue.queue:
            self._wait(inflight, None)
            return
        why = self._sender.send(inflight)
        if why is not None:
            self._wait(inflight, why)

    def _wait(self, inflight: InFlightCall, why: WaitReason | None) -> None:
        longest = inflight.request.timeouts.schedule_to_start
        if longest is not None:
            waited = (self._clock() - inflight.since) / 1e9
            self._sender.timers.set(inflight, max(0.0, longest - waited), self._start_too_late)
        self._pending.enter(inflight, why)

    def _keep(self, inflight: InFlightCall) -> None:
        """A request has not left before this process ends: that goes on record, if it is not."""
        if not inflight.blocked:
            self._waits.blocked(inflight, STOPPING)

    def _finish(self, inflight: InFlightCall, answer: Answer, event: CallEvent) -> None:
        """This is how it ends; but one that its host never saw goes elsewhere, or waits for the next process."""
        call, request = inflight.call, inflight.request
        cancelling = inflight.state is CallState.CANCELLING
        if call is not None:
            self._recorder.ended(call, answer)
            if request.idempotent and answer.failure is None:
                self._sender.hedging.saw(call, request.target.operation, self._recorder.clock() - call.began)
            if event is CallEvent.UNSENT and not cancelling:
                self._give_back(inflight, call)
                return
        self._close(inflight, event)
        if answer.failure is not None:
            self._manifests.settle_late(request, inflight.dispatch)
            answer = told_to_step(request, inflight.dispatch, answer, cancelling=cancelling)
        self._listener.answered(request, answer, inflight.ran_at(answer))
        if self._stopped is not None:
            self._look_whether_idle()

    def _give_back(self, inflight: InFlightCall, call: HostCall) -> None:
        """The host never saw the call: the attempt has not begun."""
        if self._stopped is not None:
            self._close(inflight, CallEvent.FORGOTTEN)
            self._keep(inflight)
            self._look_whether_idle()
            return
        self._sender.timers.call_off(inflight)
        inflight.returned()
        self._leave_host(inflight, call, None)
        self._go(inflight)

    def _forget(self, inflight: InFlightCall) -> None:
        call = inflight.call
        if call is not None:
            self._recorder.taken_back(call)
        self._close(inflight, CallEvent.FORGOTTEN)
        if call is not None:
            call.link.cancel(call.number)

    def _close(self, inflight: InFlightCall, event: CallEvent) -> None:
        """It is over, wherever it stands."""
        call = inflight.call
        second = inflight.ended(event)
        self.active.remove(inflight)
        if inflight.alarm is not None:
            self._deadlines.call_off(inflight.alarm)
            inflight.alarm = None
        if call is not None:
            self._leave_host(inflight, call, second)
        else:
            self._pending.leave(inflight)

    def _leave_host(self, inflight: InFlightCall, call: HostCall, second: HostCall | None) -> None:
        """Neither of these is with its instance any more."""
        self._sender.gone(call)
        if inflight.hedge_alarm is not None:
            self._deadlines.call_off(inflight.hedge_alarm)
            inflight.hedge_alarm = None
        if second is not None:
            self._take_back(second)
        self._pending.more_room()
        if call.is_retry:
            self._stir(call.pool.plugin_id)

    def _hedge_no_more(self, inflight: InFlightCall, second: HostCall | None) -> None:
        """Make no second call, or take it back."""
        if inflight.hedge_alarm is not None:
            self._sender.hedge_no_more(inflight)
        if second is not None:
            self._take_back(second)

    def _take_back(self, call: HostCall, *, outrun: bool = False) -> None:
        self._sender.take_back(call, outrun=outrun)
        self._stir(call.pool.plugin_id)

    def _start_too_late(self, inflight: InFlightCall) -> None:
        inflight.alarm = None
        seconds = inflight.request.timeouts.schedule_to_start
        assert seconds is not None
        fault = ScheduleToStartTimeout(inflight.request.path, seconds, self._pending.waiting(inflight).why.message)
        answer = Answer(None, failure_of(fault), accepted=False, sent=False)
        self._finish(inflight, answer, CallEvent.TIMED_OUT)

    def _give_up(self, inflight: InFlightCall) -> None:
        inflight.alarm = None
        self._finish(inflight, cancelled(inflight.request, accepted=True), CallEvent.TIMED_OUT)

    def _look_whether_idle(self) -> None:
        if self._stopped is not None and not self._sender.in_flight:
            self._stopped.set()

    def _instances_changed(self, plugin_id: str) -> None:
        self._manifests.shown(self._hosts.snapshot(plugin_id))
        self._target_queues.changed(plugin_id)
        self._stir(plugin_id)

    def _stir(self, plugin_id: str) -> None:
        self._pending.changed(lambda route: plugin_id in route.plugins)

    def _providers_changed(self, interface: str) -> None:
        def concerns(route: Route) -> bool:
            return isinstance(route, InterfaceRoute) and route.interface == interface

        self._pending.changed(concerns)
