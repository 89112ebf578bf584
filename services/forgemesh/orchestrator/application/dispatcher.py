"""Sends open attempts to instances, and sees to it that each of them ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec

from forgemesh.faults import Code, Fault
from forgemesh.faults.workflow import (
    Cancelled,
    HeartbeatTimeout,
    ScheduleToCloseTimeout,
    ScheduleToStartTimeout,
    StartToCloseTimeout,
)
from forgemesh.orchestrator.application.deadlines import TICKS, Deadlines
from forgemesh.orchestrator.application.errand import Errand
from forgemesh.orchestrator.application.lanes import Lanes
from forgemesh.orchestrator.application.order import (
    Crowded,
    Lacking,
    Listener,
    Order,
    OrderKey,
    Running,
    Waiting,
    Wanted,
)
from forgemesh.orchestrator.application.providers import Providers
from forgemesh.orchestrator.application.route import InterfaceRoute, Route
from forgemesh.orchestrator.application.waiting_room import WaitingRoom
from forgemesh.orchestrator.domain.events import Dispatch
from forgemesh.orchestrator.domain.failure import Failure, failure_of
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.ports import Answer, Hosts, Invocation
from forgemesh.routing.pick import NoPick, Picked

CANCEL_GRACE = 5.0
"""Seconds that a cancelled call has to answer before it counts as ended."""
LEAST = 0.001
"""Seconds that a plugin is given even if there are none left."""


class Dispatcher:
    """
    Every order leaves as soon as an instance may take it, at most `max_in_flight` (0: no limit) of all at once.

    `clock` gives Unix nanoseconds. The heartbeat of an order is not looked at if its call goes alone (unary Invoke):
    nothing can come back there before the answer.
    """

    def __init__(
        self,
        hosts: Hosts,
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
        self._active: dict[OrderKey, Errand] = {}
        self._unsent: dict[tuple[str, str], dict[OrderKey, None]] = {}
        self._lanes = Lanes(hosts, providers)
        self._deadlines = Deadlines()
        self._room = WaitingRoom(self._depart, self._refuse, self._crowd, listener, self._deadlines, clock)
        self._stopped: asyncio.Event | None = None
        hosts.on_change(self._instances_changed)
        providers.on_change(self._providers_changed)

    @property
    def in_flight(self) -> int:
        """How many orders are with instances."""
        return self._in_flight

    @property
    def wanted(self) -> set[Wanted]:
        """What orders wait for that nobody serves."""
        return self._room.wanted

    async def stop(self, grace: float) -> None:
        """Send nothing any more; return once every call that is under way has ended, or after `grace` seconds."""
        self._stopped = asyncio.Event()
        self._room.closed = True
        self._look_whether_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._stopped.wait()

    def send(self, order: Order) -> None:
        """Carry the order out, now or as soon as an instance may take it; never, once stopped."""
        if self._stopped is not None:
            return
        lane = self._lanes.of(order.target)
        errand = self._active[order.key] = Errand(order, self, lane, self._clock())
        if lane.queue:
            self._wait(errand, None)
            return
        lack = self._crowd() or self._depart(errand)
        if lack is not None:
            self._wait(errand, lack)

    def cancel(self, key: OrderKey) -> None:
        """Take an order back: a waiting one ends now, a running one within the grace."""
        errand = self._active.get(key)
        if errand is None or errand.cancelling:
            return
        if errand.link is None:
            self.finish(errand, _cancelled(errand, accepted=False))
            return
        errand.cancelling = True
        errand.link.cancel(errand.call)
        if self._active.get(key) is errand:
            self._set_alarm(errand, CANCEL_GRACE, self._give_up)

    def forget(self, key: OrderKey) -> None:
        """Take an order back and tell nobody what becomes of it."""
        errand = self._active.get(key)
        if errand is None:
            return
        self._close(errand)
        if errand.link is not None:
            errand.link.cancel(errand.call)

    def unsent(self, namespace: str, execution_id: str) -> list[OrderKey]:
        """The orders of an execution that still wait, in the order in which they came."""
        return list(self._unsent.get((namespace, execution_id), ()))

    def explain(self, key: OrderKey) -> Waiting | Running | None:
        """How it stands with an order; None if it has ended, or never was."""
        errand = self._active.get(key)
        if errand is None:
            return None
        dispatch = errand.order.dispatch
        if errand.link is None or dispatch is None:
            return self._room.waiting(errand)
        return Running(
            dispatch=dispatch,
            since=dispatch.at,
            heard_at=errand.heard_at,
            fraction=errand.fraction,
            note=errand.note,
            cancelling=errand.cancelling,
        )

    def finish(self, errand: Errand, answer: Answer) -> None:
        """See errand.Owner; what comes after the end changes nothing."""
        order = errand.order
        if self._active.get(order.key) is not errand:
            return
        self._close(errand)
        if answer.failure is not None:
            answer = _named(errand, answer, answer.failure)
        self._listener.answered(order, answer)
        self._look_whether_idle()

    def hear(self, errand: Errand, fraction: float, note: str, details: Payload | None) -> None:
        """See errand.Owner."""
        if self._active.get(errand.order.key) is errand:
            errand.silent_since = asyncio.get_running_loop().time()
            errand.heard_at, errand.fraction, errand.note = self._clock(), fraction, note
            self._listener.progressed(errand.order, fraction, note, details)

    def _crowd(self) -> Crowded | None:
        return self._crowded if self._limit and self._in_flight >= self._limit else None

    def _wait(self, errand: Errand, lack: Lacking | None) -> None:
        order = errand.order
        self._unsent.setdefault(order.key[:2], {})[order.key] = None
        if order.timeouts.schedule_to_start is not None:
            self._set_alarm(errand, order.timeouts.schedule_to_start, self._start_too_late)
        self._room.enter(errand, lack)

    def _depart(self, errand: Errand) -> NoPick | None:
        order = errand.order
        found = errand.lane.route.find(order, time.monotonic())
        if isinstance(found, NoPick):
            return found
        pool, picked = found
        if errand.blocked is not None:
            self._listener.unblocked(order)
        self._unlist(order)
        now = self._clock()
        order.dispatch = _dispatch(order, picked, pool.plugin_id, now)
        link = errand.link = pool.take(picked)
        self._in_flight += 1
        self._watch(errand)
        errand.call = link.invoke(_invocation(order, now), errand)
        pool.sent(picked.endpoint.instance_id, link)
        return None

    def _refuse(self, errand: Errand, lack: Lacking) -> None:
        """What the errand waits for needs a person."""
        assert isinstance(lack, NoPick)
        self.finish(errand, Answer(None, failure_of(lack.fault()), accepted=False))

    def _close(self, errand: Errand) -> None:
        """The errand is over, wherever it stands."""
        del self._active[errand.order.key]
        self._set_alarm(errand, 0.0, None)
        if errand.link is not None:
            self._in_flight -= 1
            self._room.more_room()
        else:
            self._unlist(errand.order)
            self._room.leave(errand)

    def _unlist(self, order: Order) -> None:
        if not self._unsent:
            return
        listed = self._unsent.get(order.key[:2])
        if listed is not None:
            listed.pop(order.key, None)
            if not listed:
                del self._unsent[order.key[:2]]

    def _watch(self, errand: Errand) -> None:
        """The errand starts to run."""
        timeouts = errand.order.timeouts
        if timeouts.heartbeat is None or timeouts.heartbeat >= timeouts.start_to_close:
            self._set_alarm(errand, timeouts.start_to_close, self._close_too_late)
            return
        now = errand.silent_since = asyncio.get_running_loop().time()
        errand.close_at = now + timeouts.start_to_close
        self._set_alarm(errand, timeouts.heartbeat, self._listen)

    def _listen(self, errand: Errand) -> None:
        """Has it said anything since the alarm was set?"""
        assert errand.link is not None
        heartbeat = errand.order.timeouts.heartbeat
        assert heartbeat is not None
        now = asyncio.get_running_loop().time()
        left, silence = errand.close_at - now, now - errand.silent_since
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
        link = errand.link
        assert link is not None
        self.finish(errand, Answer(None, failure_of(fault, retryable=True)))
        link.cancel(errand.call)  # last: a call that has not left yet is answered as lost

    def _start_too_late(self, errand: Errand) -> None:
        errand.alarm = None
        seconds = errand.order.timeouts.schedule_to_start
        assert seconds is not None
        fault = ScheduleToStartTimeout(errand.order.path, seconds, self._room.waiting(errand).lack.message)
        self.finish(errand, Answer(None, failure_of(fault), accepted=False))

    def _give_up(self, errand: Errand) -> None:
        errand.alarm = None
        self.finish(errand, _cancelled(errand, accepted=True))

    def _set_alarm(self, errand: Errand, seconds: float, then: Callable[[Errand], None] | None) -> None:
        if errand.alarm is not None:
            self._deadlines.call_off(errand.alarm)
        errand.alarm = self._deadlines.set(seconds, then, errand) if then is not None else None

    def _look_whether_idle(self) -> None:
        if self._stopped is not None and not self._in_flight:
            self._stopped.set()

    def _instances_changed(self, plugin_id: str) -> None:
        self._lanes.changed(plugin_id)
        self._room.changed(lambda route: route.leads_to(plugin_id))

    def _providers_changed(self, interface: str) -> None:
        def concerns(route: Route) -> bool:
            return isinstance(route, InterfaceRoute) and route.interface == interface

        self._room.changed(concerns)


def _dispatch(order: Order, picked: Picked, plugin_id: str, now: int) -> Dispatch:
    endpoint = picked.endpoint
    return Dispatch(
        instance_id=endpoint.instance_id,
        incarnation=endpoint.incarnation,
        plugin_version=endpoint.plugin_version,
        at=now,
        plugin_id="" if order.target.plugin_id else plugin_id,
        policy="affinity" if order.affinity else "round_robin",
        candidates=picked.candidates,
        eligible=picked.eligible,
        excluded=tuple([f"{instance}: {reason.value}" for instance, reason in picked.excluded])
        if picked.excluded
        else (),
    )


def _end(order: Order) -> int:
    """The moment after which nobody waits for the answer (Unix nanoseconds), the attempt's own limit apart; or 0."""
    if order.deadline and order.close_at:
        return min(order.deadline, order.close_at)
    return order.deadline or order.close_at


def _invocation(order: Order, now: int) -> Invocation:
    remaining = order.timeouts.start_to_close
    end = _end(order)
    if end:
        remaining = max(LEAST, min(remaining, (end - now) / 1e9))
    return Invocation(
        operation=order.target.operation,
        input=order.input,
        namespace=order.namespace,
        execution_id=order.execution_id,
        step_path=order.path,
        attempt=order.attempt,
        traceparent=order.traceparent,
        remaining=remaining,
        details=order.details,
    )


def _named(errand: Errand, answer: Answer, failure: Failure) -> Answer:
    """
    The answer with the failure that the step shall see.

    A host knows how long it was given, and not whose limit that was; a call that was taken back before its host had it
    is not lost.
    """
    order = errand.order
    if errand.cancelling and not answer.accepted:
        return _cancelled(errand, accepted=False)
    end, dispatch = _end(order), order.dispatch
    if failure.reason != StartToCloseTimeout.reason or not end or dispatch is None:
        return answer
    if end >= dispatch.at + order.timeouts.start_to_close * 1e9:
        return answer
    return msgspec.structs.replace(answer, failure=_ended_around(order))


def _ended_around(order: Order) -> Failure:
    """The step's time was over, or the execution's."""
    seconds = order.timeouts.schedule_to_close
    if order.close_at and seconds is not None and order.close_at == _end(order):
        return failure_of(ScheduleToCloseTimeout(order.path, seconds), step_path=order.path)
    message = f"the time of execution {order.execution_id!r} was over while an attempt at {order.path!r} ran"
    return Failure(
        Code.DEADLINE_EXCEEDED, "EXECUTION_TIMEOUT", message, {"step_path": order.path}, step_path=order.path
    )


def _cancelled(errand: Errand, *, accepted: bool) -> Answer:
    path = errand.order.path
    return Answer(None, failure_of(Cancelled(path), step_path=path), accepted)
