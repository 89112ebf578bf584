"""Sends open attempts to instances, and sees to it that each of them ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from forgemesh.chassis.containment import contained
from forgemesh.faults import Fault
from forgemesh.faults.workflow import HeartbeatTimeout, ScheduleToStartTimeout, StartToCloseTimeout
from forgemesh.orchestrator.dispatch.active_calls import ActiveCalls
from forgemesh.orchestrator.dispatch.call_request import (
    CallKey,
    CallRequest,
    Crowded,
    Leaving,
    Listener,
    RunKey,
    Stopping,
    Underway,
    Waiting,
    WaitReason,
    Wanted,
)
from forgemesh.orchestrator.dispatch.deadlines import TICKS, Deadlines
from forgemesh.orchestrator.dispatch.hedging import Hedging
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall
from forgemesh.orchestrator.dispatch.invocation_builder import (
    cancelled,
    dispatch_of,
    invocation_of,
    named,
    ran_at,
    underway,
)
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder, departure_of
from forgemesh.orchestrator.dispatch.pending_queue import PendingQueue
from forgemesh.orchestrator.dispatch.ports import Answer, Hosts
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.dispatch.router import InterfaceRoute, Route
from forgemesh.orchestrator.dispatch.target_queues import TargetQueues
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.routing.pick import NoPick

CANCEL_GRACE = 5.0
"""Seconds that a cancelled call has to answer before it counts as ended."""
LEAVING = Leaving()
STOPPING = Stopping()


class Dispatcher:
    """
    Every order leaves as soon as an instance may take it, at most `max_in_flight` (0: no limit) of all at once. One
    that could not be sent after all goes elsewhere; its attempt has not begun.

    `clock` gives Unix nanoseconds. The heartbeat of an order is not looked at if its call goes alone (unary Invoke):
    nothing can come back there before the answer.
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
        self._clock = clock
        self._listener = listener
        self._crowded = Crowded(max_in_flight)
        self._limit = max_in_flight
        self._in_flight = 0
        self.active = ActiveCalls()
        self._recorder = recorder
        self._target_queues = TargetQueues(hosts, recorder, providers)
        self._manifests, self._hosts = providers.manifests, hosts
        self._deadlines = Deadlines(lambda one, bug: self.broke(one, bug) if isinstance(one, InFlightCall) else None)
        self._hedging = Hedging(recorder, self._manifests, self._deadlines, clock, self._crowd, self._stir)
        self._pending = PendingQueue(
            self._depart,
            self._lift,
            self._refuse,
            self._crowd,
            recorder.hurry,
            listener,
            self._deadlines,
            clock,
            recorder.clock,
        )
        self._stopped: asyncio.Event | None = None
        recorder.demands, recorder.on_change = self._pending.demands, self._instances_changed
        hosts.on_change(self._instances_changed)
        providers.on_change(self._providers_changed)
        self._manifests.on_change(self._stir)

    @property
    def in_flight(self) -> int:
        """How many calls are with instances."""
        return self._in_flight + self._hedging.in_flight

    @property
    def wanted(self) -> set[Wanted]:
        """What orders wait for that nobody serves."""
        return self._pending.wanted

    async def stop(self, grace: float) -> None:
        """
        Send nothing any more; return once every call that is under way has ended, or after `grace` seconds.

        The listener knows then of every order that has not left that it is blocked.
        """
        self._stopped = asyncio.Event()
        self._pending.closed = True
        self._look_whether_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._stopped.wait()
        for inflight in self.active.all():
            if inflight.link is None:
                self._keep(inflight)
            elif not inflight.cancelling and inflight.second is None and not inflight.link.has_left(inflight.call):
                inflight.link.cancel(inflight.call)  # answered as not sent

    def _keep(self, inflight: InFlightCall) -> None:
        """An order has not left before this process ends: that goes on record, if it is not."""
        if not inflight.blocked:
            inflight.blocked = STOPPING.reason.value
            self._listener.blocked(inflight.request, STOPPING)

    def send(self, request: CallRequest) -> None:
        """Carry the order out, now or as soon as an instance may take it; never, once stopped."""
        target_queue = self._target_queues.of(request)
        inflight = InFlightCall(request, self, target_queue, request.since or self._clock(), request.blocked)
        if self._stopped is not None:
            self._keep(inflight)
            return
        self.active.add(inflight)
        self._go(inflight)

    def released(self, key: CallKey, attempt: int) -> None:
        """That an order is not blocked any more is on record."""
        inflight = self.active.find(key)
        if inflight is None or inflight.request.attempt != attempt or not inflight.lifts:
            return
        inflight.lifts -= 1
        if not inflight.lifts:
            self._pending.released(inflight)

    def _lift(self, inflight: InFlightCall) -> None:
        inflight.blocked = ""
        inflight.lifts += 1
        self._listener.unblocked(inflight.request)

    def _go(self, inflight: InFlightCall) -> None:
        if inflight.target_queue.queue:
            self._wait(inflight, None)
            return
        why = self._crowd() or self._depart(inflight)
        if why is not None:
            self._wait(inflight, why)

    def cancel(self, key: CallKey) -> None:
        """Take an order back: a waiting one ends now, a running one within the grace."""
        inflight = self.active.find(key)
        if inflight is None or inflight.cancelling:
            return
        if inflight.link is None:
            self.finish(inflight, cancelled(inflight, accepted=False, sent=False))
            return
        inflight.cancelling = True
        self._hedging.call_off(inflight)
        inflight.link.cancel(inflight.call)
        if not inflight.over:
            self._set_alarm(inflight, CANCEL_GRACE, self._give_up)

    def forget(self, key: CallKey) -> None:
        """Take an order back and tell nobody what becomes of it."""
        inflight = self.active.find(key)
        if inflight is not None:
            self._forget(inflight)

    def forget_all(self, run: RunKey) -> None:
        """Take back all that an execution has ordered, and tell nobody what becomes of it."""
        for inflight in self.active.of(run):
            with contained(f"the order for step {inflight.request.path} of execution {run[1]}"):
                self._forget(inflight)

    def _forget(self, inflight: InFlightCall) -> None:
        if inflight.departure is not None:
            self._recorder.taken_back(inflight.departure)
        self._close(inflight)
        if inflight.link is not None:
            inflight.link.cancel(inflight.call)

    def explain(self, key: CallKey) -> Waiting | Underway | None:
        """How it stands with an order; None if it has ended, or never was."""
        inflight = self.active.find(key)
        if inflight is None:
            return None
        dispatch = inflight.request.dispatch
        return (
            self._pending.waiting(inflight)
            if inflight.link is None or dispatch is None
            else underway(inflight, dispatch)
        )

    def finish(self, inflight: InFlightCall, answer: Answer) -> None:
        """See in_flight_call.Owner; what comes after the end changes nothing."""
        request = inflight.request
        if inflight.over:
            return
        if inflight.second is not None and self._hedging.goes_on(inflight, answer):
            return
        if inflight.departure is not None:
            self._recorder.ended(inflight.departure, answer)
            if request.idempotent and answer.failure is None:
                self._hedging.saw(inflight.departure, request.target.operation)
        if not answer.sent and inflight.link is not None and not inflight.cancelling and self._stopped is None:
            self._go_elsewhere(inflight)
            return
        self._close(inflight)
        if not answer.sent and inflight.link is not None and not inflight.cancelling:
            self._keep(inflight)
            self._look_whether_idle()
            return
        if answer.failure is not None:
            self._manifests.settle_late(request)
            answer = named(inflight, answer, answer.failure)
        self._listener.answered(request, answer, ran_at(request, answer))
        self._look_whether_idle()

    def _go_elsewhere(self, inflight: InFlightCall) -> None:
        """The host never saw the call: the attempt has not begun."""
        self._leave_host(inflight)
        self._set_alarm(inflight, 0.0, None)
        inflight.link = inflight.departure = inflight.request.dispatch = None
        self._go(inflight)

    def broke(self, inflight: InFlightCall, error: Exception) -> None:
        """See in_flight_call.Owner; its execution is told when nobody is in the midst of a queue."""
        sent = inflight.link is not None
        if not inflight.over:
            with contained(f"the order for step {inflight.request.path} of execution {inflight.request.run[1]}"):
                self._forget(inflight)
        inflight.target_queue.queue.remove(inflight.request.key)
        asyncio.get_running_loop().call_soon(partial(self._listener.broke, inflight.request, error, sent=sent))

    def hear(self, inflight: InFlightCall, fraction: float, note: str, details: Payload | None) -> None:
        """See in_flight_call.Owner."""
        if not inflight.over:
            inflight.silent_since = self._recorder.awake()
            inflight.heard_at, inflight.fraction, inflight.note = self._clock(), fraction, note
            self._listener.progressed(inflight.request, fraction, note, details)

    def _crowd(self) -> Crowded | None:
        return self._crowded if self._limit and self.in_flight >= self._limit else None

    def _wait(self, inflight: InFlightCall, why: WaitReason | None) -> None:
        request = inflight.request
        if request.timeouts.schedule_to_start is not None:
            waited = (self._clock() - inflight.since) / 1e9
            self._set_alarm(inflight, max(0.0, request.timeouts.schedule_to_start - waited), self._start_too_late)
        self._pending.enter(inflight, why)

    def _depart(self, inflight: InFlightCall) -> WaitReason | None:
        try:
            return self._send(inflight)
        except Exception as error:  # noqa: BLE001 - the others that wait have nothing to do with it
            self.broke(inflight, error)
            return None

    def _send(self, inflight: InFlightCall) -> WaitReason | None:
        if inflight.lifts:
            return LEAVING
        request, now = inflight.request, self._recorder.clock()
        found = inflight.target_queue.route.find(request, now)
        if isinstance(found, NoPick):
            return found
        pool, picked = found
        if (
            self._manifests.settle(request, pool.plugin_id, picked.endpoint.plugin_version)
            and picked.permit is not None
        ):
            return self._send(inflight)  # it must not be repeated: a trial call only if there is no other way
        held_back = pool.holds_back() if request.retry else None
        if held_back is not None:
            return held_back
        if inflight.blocked:
            self._lift(inflight)
            return LEAVING
        if request.retry:
            pool.retries += 1
            inflight.retries_of = pool
        at = self._clock()
        request.dispatch = dispatch_of(request, picked, pool.plugin_id, at)
        invocation = invocation_of(request, at, picked.permit)
        link, entry = pool.take(picked)
        inflight.link = link
        self._in_flight += 1
        inflight.departure = departure_of(
            request, pool.snapshot.policy, entry, now, invocation.remaining, picked.permit
        )
        self._recorder.departed(inflight.departure)
        self._watch(inflight)
        inflight.call = link.invoke(invocation, inflight)
        pool.sent(picked.endpoint.instance_id, link)
        if request.idempotent:
            self._hedging.watch(inflight, pool, picked.endpoint.plugin_version, invocation)
        return None

    def _refuse(self, inflight: InFlightCall, why: WaitReason) -> None:
        """What the call waits for needs a person."""
        assert isinstance(why, NoPick)
        self.finish(inflight, Answer(None, failure_of(why.fault()), accepted=False, sent=False))

    def _close(self, inflight: InFlightCall) -> None:
        """The call is over, wherever it stands."""
        inflight.over = True
        self.active.remove(inflight)
        self._set_alarm(inflight, 0.0, None)
        if inflight.link is not None:
            self._leave_host(inflight)
        else:
            self._pending.leave(inflight)

    def _leave_host(self, inflight: InFlightCall) -> None:
        """The call runs no more; `link` stays until it runs again or is forgotten."""
        if inflight.hedge_alarm is not None or inflight.second is not None:
            self._hedging.call_off(inflight)
        self._in_flight -= 1
        self._pending.more_room()
        if inflight.retries_of is not None:
            pool, inflight.retries_of = inflight.retries_of, None
            pool.retries -= 1
            self._stir(pool.plugin_id)

    def _watch(self, inflight: InFlightCall) -> None:
        """The call starts to run."""
        timeouts = inflight.request.timeouts
        if timeouts.heartbeat is None or timeouts.heartbeat >= timeouts.start_to_close:
            self._set_alarm(inflight, timeouts.start_to_close, self._close_too_late)
            return
        inflight.silent_since = self._recorder.awake()
        inflight.close_at = asyncio.get_running_loop().time() + timeouts.start_to_close
        self._set_alarm(inflight, timeouts.heartbeat, self._listen)

    def _listen(self, inflight: InFlightCall) -> None:
        """Has it said anything since the alarm was set?"""
        assert inflight.link is not None
        heartbeat = inflight.request.timeouts.heartbeat
        assert heartbeat is not None
        left = inflight.close_at - asyncio.get_running_loop().time()
        silence = self._recorder.awake() - inflight.silent_since
        if left < 1 / TICKS:
            self._close_too_late(inflight)
        elif not inflight.link.hears_progress(inflight.call):
            self._set_alarm(inflight, left, self._close_too_late)
        elif silence > heartbeat - 1 / TICKS:
            self._run_out(inflight, HeartbeatTimeout(inflight.request.path, heartbeat))
        else:
            self._set_alarm(inflight, min(left, heartbeat - silence), self._listen)

    def _close_too_late(self, inflight: InFlightCall) -> None:
        self._run_out(inflight, StartToCloseTimeout(inflight.request.path, inflight.request.timeouts.start_to_close))

    def _run_out(self, inflight: InFlightCall, fault: Fault) -> None:
        inflight.alarm = None
        link, call, departure = inflight.link, inflight.call, inflight.departure
        assert link is not None
        self._hedging.call_off(inflight)
        if not link.has_left(call):
            link.cancel(call)  # its time has not begun: it is answered on the spot, and goes elsewhere
        if not inflight.over and inflight.departure is departure:
            self.finish(inflight, Answer(None, failure_of(fault, retryable=True)))
            link.cancel(call)

    def _start_too_late(self, inflight: InFlightCall) -> None:
        inflight.alarm = None
        seconds = inflight.request.timeouts.schedule_to_start
        assert seconds is not None
        fault = ScheduleToStartTimeout(inflight.request.path, seconds, self._pending.waiting(inflight).why.message)
        self.finish(inflight, Answer(None, failure_of(fault), accepted=False, sent=False))

    def _give_up(self, inflight: InFlightCall) -> None:
        inflight.alarm = None
        self._hedging.call_off(inflight)
        self.finish(inflight, cancelled(inflight, accepted=True))

    def _set_alarm(self, inflight: InFlightCall, seconds: float, then: Callable[[InFlightCall], None] | None) -> None:
        if inflight.alarm is not None:
            self._deadlines.call_off(inflight.alarm)
        inflight.alarm = self._deadlines.set(seconds, then, inflight) if then is not None else None

    def _look_whether_idle(self) -> None:
        if self._stopped is not None and not self._in_flight:
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
