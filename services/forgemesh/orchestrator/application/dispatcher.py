"""Sends open attempts to instances: picks one, or keeps the attempt until one may take it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import count
from typing import Protocol

import semantic_version

from forgemesh.faults.workflow import Cancelled, StartToCloseTimeout
from forgemesh.orchestrator.domain.definition import Call
from forgemesh.orchestrator.domain.events import Dispatch
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.ports import Answer, HostLink, Hosts, Invocation
from forgemesh.routing.eligibility import LocalView
from forgemesh.routing.pick import Lack, NoPick, Picked, any_version, pick
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Snapshot

CANCEL_GRACE = 5.0
"""Seconds that a cancelled call has to answer before it counts as ended."""
FULL_NOTICE = 0.5
"""Seconds without progress after which a full plugin is put on record: queues that move are ordinary."""

OrderKey = tuple[str, str, str]
"""Namespace, execution id, step path."""


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One attempt to be carried out; `deadline` is Unix nanoseconds, 0 for none; `tried` is passed over if possible."""

    namespace: str
    execution_id: str
    path: str
    attempt: int
    call: Call
    input: Payload
    traceparent: str
    deadline: int = 0
    tried: frozenset[str] = frozenset()
    arrival: int = 0
    blocked: Lack | None = None
    link: HostLink | None = None
    call_name: int = 0
    dispatch: Dispatch | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> OrderKey:
        return self.namespace, self.execution_id, self.path


@dataclass(slots=True, eq=False)
class Lane:
    """The orders that wait for one version range of a plugin, in order of arrival, for all of which `lack` is why."""

    lack: NoPick
    orders: dict[OrderKey, Order] = field(default_factory=dict)
    noticed: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def first(self) -> Order:
        return next(iter(self.orders.values()))


class Listener(Protocol):
    """Is told what becomes of orders."""

    def answered(self, order: Order, answer: Answer) -> None:
        """Exactly once for each order that is not forgotten."""

    def blocked(self, order: Order, lack: NoPick) -> None: ...

    def unblocked(self, order: Order) -> None: ...


@dataclass(slots=True)
class Dispatcher:
    """
    First come, first served per plugin, among those that an instance can serve; woken by whatever may let an attempt
    go, never by polling.

    `clock` gives Unix nanoseconds.
    """

    hosts: Hosts
    clock: Callable[[], int]
    listener: Listener
    _active: dict[OrderKey, Order] = field(default_factory=dict)
    _lanes: dict[str, dict[str, Lane]] = field(default_factory=dict)
    _arrivals: count[int] = field(default_factory=count)
    _turns: dict[str, Turns] = field(default_factory=dict)
    _dirty: set[str] = field(default_factory=set)
    _stopped: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.hosts.on_change(self._changed)

    async def stop(self, grace: float) -> None:
        """Send nothing any more; return once every call that is under way has ended, or after `grace` seconds."""
        self._stopped = asyncio.Event()
        self._look_whether_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._stopped.wait()

    def send(self, order: Order) -> None:
        """Carry the order out, now or as soon as an instance may take it; never, once stopped."""
        if self._stopped is not None:
            return
        self._active[order.key] = order
        order.arrival = next(self._arrivals)
        lane = self._lane(order)
        if lane is not None:
            lane.orders[order.key] = order
            if lane.noticed:
                self._put_on_record(order, lane.lack)
            return
        lack = self._try(order)
        if lack is not None:
            lane = Lane(lack, {order.key: order})
            self._lanes.setdefault(order.call.plugin_id, {})[order.call.version_range] = lane
            self._stuck(lane)

    def cancel(self, key: OrderKey) -> None:
        """Take an order back: a waiting one ends now, a running one within the grace."""
        order = self._active.get(key)
        if order is None:
            return
        if order.link is None:
            self._leave_lane(order)
            self._finish(order, _cancelled(order))
            return
        order.link.cancel(order.call_name)
        if self._active.get(key) is order:
            self._set_timer(order, CANCEL_GRACE, lambda: self._finish(order, _cancelled(order)))

    def forget(self, key: OrderKey) -> None:
        """Take an order back and tell nobody what becomes of it."""
        order = self._active.pop(key, None)
        if order is None:
            return
        self._set_timer(order, None)
        if order.link is not None:
            order.link.cancel(order.call_name)
        else:
            self._leave_lane(order)

    def _try(self, order: Order) -> NoPick | None:
        call = order.call
        links = self.hosts.links(call.plugin_id)
        snapshot = self.hosts.snapshot(call.plugin_id) or Snapshot.nothing(call.plugin_id)
        picked = pick(
            snapshot,
            self._turns.get(call.plugin_id) or Turns(),
            _view(links, snapshot),
            wanted=_wanted(call.version_range),
            exclude=order.tried,
            now=time.monotonic(),
        )
        if isinstance(picked, NoPick):
            return picked
        self._turns[call.plugin_id] = picked.cursor
        if order.blocked is not None:
            self.listener.unblocked(order)
            order.blocked = None
        self._invoke(order, picked, links[picked.endpoint.instance_id])
        return None

    def _invoke(self, order: Order, picked: Picked, link: HostLink) -> None:
        now = self.clock()
        order.dispatch = Dispatch(
            instance_id=picked.endpoint.instance_id,
            incarnation=picked.endpoint.incarnation,
            plugin_version=picked.endpoint.plugin_version,
            at=now,
            candidates=picked.candidates,
            eligible=picked.eligible,
            excluded=tuple(f"{instance}: {reason.value}" for instance, reason in picked.excluded),
        )
        remaining = order.call.start_to_close
        if order.deadline:
            remaining = max(0.001, min(remaining, (order.deadline - now) / 1e9))
        invocation = Invocation(
            operation=order.call.operation,
            input=order.input,
            namespace=order.namespace,
            execution_id=order.execution_id,
            step_path=order.path,
            attempt=order.attempt,
            traceparent=order.traceparent,
            remaining=remaining,
        )
        order.link = link
        self._set_timer(order, order.call.start_to_close, lambda: self._time_out(order))
        order.call_name = link.invoke(invocation, lambda answer: self._finish(order, answer))

    def _time_out(self, order: Order) -> None:
        assert order.link is not None
        fault = StartToCloseTimeout(order.path, order.call.start_to_close)
        self._finish(order, Answer(None, failure_of(fault, retryable=True)))
        order.link.cancel(order.call_name)  # last: a call that has not left yet is answered as lost

    def _finish(self, order: Order, answer: Answer) -> None:
        if self._active.get(order.key) is not order:
            return
        del self._active[order.key]
        self._set_timer(order, None)
        self.listener.answered(order, answer)
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if self._stopped is not None and not any(order.link is not None for order in self._active.values()):
            self._stopped.set()

    def _set_timer(self, order: Order, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        if order.timer is not None:
            order.timer.cancel()
            order.timer = None
        if seconds is not None and then is not None:
            order.timer = asyncio.get_running_loop().call_later(seconds, then)

    def _lane(self, order: Order) -> Lane | None:
        return self._lanes.get(order.call.plugin_id, {}).get(order.call.version_range)

    def _leave_lane(self, order: Order) -> None:
        lane = self._lane(order)
        if lane is None:
            return
        lane.orders.pop(order.key, None)
        if not lane.orders:
            _set_notice(lane, None)
            del self._lanes[order.call.plugin_id][order.call.version_range]

    def _stuck(self, lane: Lane) -> None:
        """Put on record why the lane does not move: a full plugin only when that lasts."""
        if lane.lack.reason is Lack.ALL_FULL:
            lane.noticed = False
            _set_notice(lane, partial(self._notice, lane))
        else:
            self._notice(lane)

    def _notice(self, lane: Lane) -> None:
        _set_notice(lane, None)
        lane.noticed = True
        for order in lane.orders.values():
            self._put_on_record(order, lane.lack)

    def _put_on_record(self, order: Order, lack: NoPick) -> None:
        if order.blocked is not lack.reason:
            order.blocked = lack.reason
            self.listener.blocked(order, lack)

    def _changed(self, plugin_id: str) -> None:
        if self._lanes.get(plugin_id) and plugin_id not in self._dirty:
            self._dirty.add(plugin_id)
            asyncio.get_running_loop().call_soon(self._drain, plugin_id)

    def _drain(self, plugin_id: str) -> None:
        """Serve whoever came first, lane by lane as long as something moves in it."""
        self._dirty.discard(plugin_id)
        if self._stopped is not None:
            return
        moving = dict(self._lanes.get(plugin_id, {}))
        while moving:
            version_range, lane = min(moving.items(), key=lambda item: item[1].first.arrival)
            order = lane.first
            lack = self._try(order)
            if lack is None:
                self._leave_lane(order)
                lane.noticed = False
                _set_notice(lane, None)
                if not lane.orders:
                    del moving[version_range]
                continue
            del moving[version_range]
            if lack.reason is not lane.lack.reason or not (lane.noticed or lane.timer):
                lane.lack = lack
                self._stuck(lane)


def _set_notice(lane: Lane, then: Callable[[], None] | None) -> None:
    if lane.timer is not None:
        lane.timer.cancel()
    lane.timer = asyncio.get_running_loop().call_later(FULL_NOTICE, then) if then is not None else None


def _view(links: Mapping[str, HostLink], snapshot: Snapshot) -> LocalView:
    """What the links say about the snapshot's instances."""
    return LocalView(
        in_flight={instance_id: link.in_flight for instance_id, link in links.items()},
        lost={
            (endpoint.instance_id, endpoint.incarnation)
            for endpoint in snapshot.open
            if not links[endpoint.instance_id].usable
        },
        full={instance_id for instance_id, link in links.items() if not link.has_room},
    )


def _cancelled(order: Order) -> Answer:
    return Answer(None, failure_of(Cancelled(order.path), step_path=order.path))


@lru_cache(maxsize=1024)
def _wanted(version_range: str) -> Callable[[str], bool]:
    if not version_range:
        return any_version
    wanted = semantic_version.NpmSpec(version_range)

    @lru_cache(maxsize=256)
    def matches(version: str) -> bool:
        return bool(wanted.match(semantic_version.Version(version)))

    return matches
