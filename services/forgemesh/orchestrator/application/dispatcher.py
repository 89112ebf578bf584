"""Sends open attempts to instances, and sees to it that each of them ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from forgemesh.chassis.containment import contained
from forgemesh.faults import Fault
from forgemesh.faults.workflow import HeartbeatTimeout, ScheduleToStartTimeout, StartToCloseTimeout
from forgemesh.orchestrator.application.active_orders import ActiveOrders
from forgemesh.orchestrator.application.call_account import CallAccount, departure_of
from forgemesh.orchestrator.application.deadlines import TICKS, Deadlines
from forgemesh.orchestrator.application.errand import Errand
from forgemesh.orchestrator.application.hedging import Hedging
from forgemesh.orchestrator.application.lanes import Lanes
from forgemesh.orchestrator.application.order import (
    Crowded,
    Lacking,
    Leaving,
    Listener,
    Order,
    OrderKey,
    RunKey,
    Running,
    Stopping,
    Waiting,
    Wanted,
)
from forgemesh.orchestrator.application.passage import cancelled, dispatch_of, invocation_of, named, underway
from forgemesh.orchestrator.application.providers import Providers
from forgemesh.orchestrator.application.route import InterfaceRoute, Route
from forgemesh.orchestrator.application.waiting_room import WaitingRoom
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.ports import Answer, Hosts
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
        account: CallAccount,
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
        self.active = ActiveOrders()
        self._account = account
        self._lanes = Lanes(hosts, account, providers)
        self._manifests, self._hosts = providers.manifests, hosts
        self._deadlines = Deadlines(lambda one, bug: self.broke(one, bug) if isinstance(one, Errand) else None)
        self._hedging = Hedging(account, self._manifests, self._deadlines, clock, self._crowd, self._stir)
        self._room = WaitingRoom(
            self._depart,
            self._lift,
            self._refuse,
            self._crowd,
            account.hurry,
            listener,
            self._deadlines,
            clock,
            account.clock,
        )
        self._stopped: asyncio.Event | None = None
        account.demands, account.on_change = self._room.demands, self._instances_changed
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
        return self._room.wanted

    async def stop(self, grace: float) -> None:
        """
        Send nothing any more; return once every call that is under way has ended, or after `grace` seconds.

        The listener knows then of every order that has not left that it is blocked.
        """
        self._stopped = asyncio.Event()
        self._room.closed = True
        self._look_whether_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._stopped.wait()
        for errand in self.active.all():
            if errand.link is None:
                self._keep(errand)
            elif not errand.cancelling and errand.second is None and not errand.link.has_left(errand.call):
                errand.link.cancel(errand.call)  # answered as not sent

    def _keep(self, errand: Errand) -> None:
        """An order has not left before this process ends: that goes on record, if it is not."""
        if not errand.blocked:
            errand.blocked = STOPPING.reason.value
            self._listener.blocked(errand.order, STOPPING)

    def send(self, order: Order) -> None:
        """Carry the order out, now or as soon as an instance may take it; never, once stopped."""
        lane = self._lanes.of(order)
        errand = Errand(order, self, lane, order.since or self._clock(), order.blocked)
        if self._stopped is not None:
            self._keep(errand)
            return
        self.active.add(errand)
        self._go(errand)

    def released(self, key: OrderKey, attempt: int) -> None:
        """That an order is not blocked any more is on record."""
        errand = self.active.find(key)
        if errand is None or errand.order.attempt != attempt or not errand.lifts:
            return
        errand.lifts -= 1
        if not errand.lifts:
            self._room.released(errand)

    def _lift(self, errand: Errand) -> None:
        errand.blocked = ""
        errand.lifts += 1
        self._listener.unblocked(errand.order)

    def _go(self, errand: Errand) -> None:
        if errand.lane.queue:
            self._wait(errand, None)
            return
        lack = self._crowd() or self._depart(errand)
        if lack is not None:
            self._wait(errand, lack)

    def cancel(self, key: OrderKey) -> None:
        """Take an order back: a waiting one ends now, a running one within the grace."""
        errand = self.active.find(key)
        if errand is None or errand.cancelling:
            return
        if errand.link is None:
            self.finish(errand, cancelled(errand, accepted=False, sent=False))
            return
        errand.cancelling = True
        self._hedging.call_off(errand)
        errand.link.cancel(errand.call)
        if not errand.over:
            self._set_alarm(errand, CANCEL_GRACE, self._give_up)

    def forget(self, key: OrderKey) -> None:
        """Take an order back and tell nobody what becomes of it."""
        errand = self.active.find(key)
        if errand is not None:
            self._forget(errand)

    def forget_all(self, run: RunKey) -> None:
        """Take back all that an execution has ordered, and tell nobody what becomes of it."""
        for errand in self.active.of(run):
            with contained(f"the order for step {errand.order.path} of execution {run[1]}"):
                self._forget(errand)

    def _forget(self, errand: Errand) -> None:
        if errand.departure is not None:
            self._account.taken_back(errand.departure)
        self._close(errand)
        if errand.link is not None:
            errand.link.cancel(errand.call)

    def explain(self, key: OrderKey) -> Waiting | Running | None:
        """How it stands with an order; None if it has ended, or never was."""
        errand = self.active.find(key)
        if errand is None:
            return None
        dispatch = errand.order.dispatch
        return self._room.waiting(errand) if errand.link is None or dispatch is None else underway(errand, dispatch)

    def finish(self, errand: Errand, answer: Answer) -> None:
        """See errand.Owner; what comes after the end changes nothing."""
        order = errand.order
        if errand.over:
            return
        if errand.second is not None and self._hedging.goes_on(errand, answer):
            return
        if errand.departure is not None:
            self._account.ended(errand.departure, answer)
            if order.idempotent and answer.failure is None:
                self._hedging.saw(errand.departure, order.target.operation)
        if not answer.sent and errand.link is not None and not errand.cancelling and self._stopped is None:
            self._go_elsewhere(errand)
            return
        self._close(errand)
        if not answer.sent and errand.link is not None and not errand.cancelling:
            self._keep(errand)
            self._look_whether_idle()
            return
        if answer.failure is not None:
            self._manifests.settle_late(order)
            answer = named(errand, answer, answer.failure)
        self._listener.answered(order, answer)
        self._look_whether_idle()

    def _go_elsewhere(self, errand: Errand) -> None:
        """The host never saw the call: the attempt has not begun."""
        self._leave_host(errand)
        self._set_alarm(errand, 0.0, None)
        errand.link = errand.departure = errand.order.dispatch = None
        self._go(errand)

    def broke(self, errand: Errand, error: Exception) -> None:
        """See errand.Owner; its execution is told when nobody is in the midst of a queue."""
        sent = errand.link is not None
        if not errand.over:
            with contained(f"the order for step {errand.order.path} of execution {errand.order.run[1]}"):
                self._forget(errand)
        errand.lane.queue.remove(errand.order.key)
        asyncio.get_running_loop().call_soon(partial(self._listener.broke, errand.order, error, sent=sent))

    def hear(self, errand: Errand, fraction: float, note: str, details: Payload | None) -> None:
        """See errand.Owner."""
        if not errand.over:
            errand.silent_since = self._account.awake()
            errand.heard_at, errand.fraction, errand.note = self._clock(), fraction, note
            self._listener.progressed(errand.order, fraction, note, details)

    def _crowd(self) -> Crowded | None:
        return self._crowded if self._limit and self.in_flight >= self._limit else None

    def _wait(self, errand: Errand, lack: Lacking | None) -> None:
        order = errand.order
        if order.timeouts.schedule_to_start is not None:
            waited = (self._clock() - errand.since) / 1e9
            self._set_alarm(errand, max(0.0, order.timeouts.schedule_to_start - waited), self._start_too_late)
        self._room.enter(errand, lack)

    def _depart(self, errand: Errand) -> Lacking | None:
        try:
            return self._send(errand)
        except Exception as error:  # noqa: BLE001 - the others that wait have nothing to do with it
            self.broke(errand, error)
            return None

    def _send(self, errand: Errand) -> Lacking | None:
        if errand.lifts:
            return LEAVING
        order, now = errand.order, self._account.clock()
        found = errand.lane.route.find(order, now)
        if isinstance(found, NoPick):
            return found
        pool, picked = found
        if self._manifests.settle(order, pool.plugin_id, picked.endpoint.plugin_version) and picked.permit is not None:
            return self._send(errand)  # it must not be repeated: a trial call only if there is no other way
        held_back = pool.holds_back() if order.retry else None
        if held_back is not None:
            return held_back
        if errand.blocked:
            self._lift(errand)
            return LEAVING
        if order.retry:
            pool.retries += 1
            errand.retries_of = pool
        at = self._clock()
        order.dispatch = dispatch_of(order, picked, pool.plugin_id, at)
        invocation = invocation_of(order, at, picked.permit)
        link, entry = pool.take(picked)
        errand.link = link
        self._in_flight += 1
        errand.departure = departure_of(order, pool.snapshot.policy, entry, now, invocation.remaining, picked.permit)
        self._account.departed(errand.departure)
        self._watch(errand)
        errand.call = link.invoke(invocation, errand)
        pool.sent(picked.endpoint.instance_id, link)
        if order.idempotent:
            self._hedging.watch(errand, pool, picked.endpoint.plugin_version, invocation)
        return None

    def _refuse(self, errand: Errand, lack: Lacking) -> None:
        """What the errand waits for needs a person."""
        assert isinstance(lack, NoPick)
        self.finish(errand, Answer(None, failure_of(lack.fault()), accepted=False, sent=False))

    def _close(self, errand: Errand) -> None:
        """The errand is over, wherever it stands."""
        errand.over = True
        self.active.remove(errand)
        self._set_alarm(errand, 0.0, None)
        if errand.link is not None:
            self._leave_host(errand)
        else:
            self._room.leave(errand)

    def _leave_host(self, errand: Errand) -> None:
        """The errand runs no more; `link` stays until it runs again or is forgotten."""
        if errand.hedge_alarm is not None or errand.second is not None:
            self._hedging.call_off(errand)
        self._in_flight -= 1
        self._room.more_room()
        if errand.retries_of is not None:
            pool, errand.retries_of = errand.retries_of, None
            pool.retries -= 1
            self._stir(pool.plugin_id)

    def _watch(self, errand: Errand) -> None:
        """The errand starts to run."""
        timeouts = errand.order.timeouts
        if timeouts.heartbeat is None or timeouts.heartbeat >= timeouts.start_to_close:
            self._set_alarm(errand, timeouts.start_to_close, self._close_too_late)
            return
        errand.silent_since = self._account.awake()
        errand.close_at = asyncio.get_running_loop().time() + timeouts.start_to_close
        self._set_alarm(errand, timeouts.heartbeat, self._listen)

    def _listen(self, errand: Errand) -> None:
        """Has it said anything since the alarm was set?"""
        assert errand.link is not None
        heartbeat = errand.order.timeouts.heartbeat
        assert heartbeat is not None
        left = errand.close_at - asyncio.get_running_loop().time()
        silence = self._account.awake() - errand.silent_since
        if left < 1 / TICKS:
            self._close_too_late(errand)
        elif not errand.link.hears_progress(errand.call):
            self._set_alarm(errand, left, self._close_too_late)
        elif silence > heartbeat - 1 / TICKS:
            self._run_out(errand, HeartbeatTimeout(errand.order.path, heartbeat))
        else:
            self._set_alarm(errand, min(left, heartbeat - silence), self._listen)

    def _close_too_late(self, errand: Errand) -> None:
        self._run_out(errand, StartToCloseTimeout(errand.order.path, errand.order.timeouts.start_to_close))

    def _run_out(self, errand: Errand, fault: Fault) -> None:
        errand.alarm = None
        link, call, departure = errand.link, errand.call, errand.departure
        assert link is not None
        self._hedging.call_off(errand)
        if not link.has_left(call):
            link.cancel(call)  # its time has not begun: it is answered on the spot, and goes elsewhere
        if not errand.over and errand.departure is departure:
            self.finish(errand, Answer(None, failure_of(fault, retryable=True)))
            link.cancel(call)

    def _start_too_late(self, errand: Errand) -> None:
        errand.alarm = None
        seconds = errand.order.timeouts.schedule_to_start
        assert seconds is not None
        fault = ScheduleToStartTimeout(errand.order.path, seconds, self._room.waiting(errand).lack.message)
        self.finish(errand, Answer(None, failure_of(fault), accepted=False, sent=False))

    def _give_up(self, errand: Errand) -> None:
        errand.alarm = None
        self._hedging.call_off(errand)
        self.finish(errand, cancelled(errand, accepted=True))

    def _set_alarm(self, errand: Errand, seconds: float, then: Callable[[Errand], None] | None) -> None:
        if errand.alarm is not None:
            self._deadlines.call_off(errand.alarm)
        errand.alarm = self._deadlines.set(seconds, then, errand) if then is not None else None

    def _look_whether_idle(self) -> None:
        if self._stopped is not None and not self._in_flight:
            self._stopped.set()

    def _instances_changed(self, plugin_id: str) -> None:
        self._manifests.shown(self._hosts.snapshot(plugin_id))
        self._lanes.changed(plugin_id)
        self._stir(plugin_id)

    def _stir(self, plugin_id: str) -> None:
        self._room.changed(lambda route: plugin_id in route.plugins)

    def _providers_changed(self, interface: str) -> None:
        def concerns(route: Route) -> bool:
            return isinstance(route, InterfaceRoute) and route.interface == interface

        self._room.changed(concerns)
