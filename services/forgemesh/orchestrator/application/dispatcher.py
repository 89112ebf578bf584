"""Sends open attempts to instances: picks one, or keeps the attempt until one may take it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
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
"""Seconds that an attempt waits for a full plugin before that is put on record: short queues are ordinary."""

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
    blocked: Lack | None = None
    link: HostLink | None = None
    call_name: int = 0
    dispatch: Dispatch | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> OrderKey:
        return self.namespace, self.execution_id, self.path


class Listener(Protocol):
    """Is told what becomes of orders."""

    def answered(self, order: Order, answer: Answer) -> None:
        """Exactly once for each order that is not forgotten."""

    def blocked(self, order: Order, lack: NoPick) -> None: ...

    def unblocked(self, order: Order) -> None: ...


@dataclass(slots=True)
class Dispatcher:
    """
    One queue per plugin, in order of arrival; woken by whatever may let an attempt go, never by polling.

    `clock` gives Unix nanoseconds.
    """

    hosts: Hosts
    clock: Callable[[], int]
    listener: Listener
    _active: dict[OrderKey, Order] = field(default_factory=dict)
    _queues: dict[str, dict[OrderKey, Order]] = field(default_factory=dict)
    _turns: dict[str, Turns] = field(default_factory=dict)
    _dirty: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.hosts.on_change(self._changed)

    def send(self, order: Order) -> None:
        """Carry the order out, now or as soon as an instance may take it."""
        self._active[order.key] = order
        queue = self._queues.get(order.call.plugin_id)
        if queue:
            queue[order.key] = order
            return
        lack = self._try(order)
        if lack is not None:
            self._queues.setdefault(order.call.plugin_id, {})[order.key] = order
            self._block(order, lack)

    def cancel(self, key: OrderKey) -> None:
        """Take an order back: a waiting one ends now, a running one within the grace."""
        order = self._active.get(key)
        if order is None:
            return
        if order.link is None:
            self._queues[order.call.plugin_id].pop(key, None)
            self._finish(order, _cancelled(order))
            return
        order.link.cancel(order.call_name)
        self._set_timer(order, CANCEL_GRACE, lambda: self._finish(order, _cancelled(order)))

    def forget(self, key: OrderKey) -> None:
        """Take an order back and tell nobody what becomes of it."""
        order = self._active.pop(key, None)
        if order is None:
            return
        self._set_timer(order, None)
        self._queues.get(order.call.plugin_id, {}).pop(key, None)
        if order.link is not None:
            order.link.cancel(order.call_name)

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
            now=self.clock() / 1e9,
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
        order.link.cancel(order.call_name)
        fault = StartToCloseTimeout(order.path, order.call.start_to_close)
        self._finish(order, Answer(None, failure_of(fault, retryable=True)))

    def _finish(self, order: Order, answer: Answer) -> None:
        if self._active.get(order.key) is not order:
            return
        del self._active[order.key]
        self._set_timer(order, None)
        self.listener.answered(order, answer)

    def _set_timer(self, order: Order, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        if order.timer is not None:
            order.timer.cancel()
            order.timer = None
        if seconds is not None and then is not None:
            order.timer = asyncio.get_running_loop().call_later(seconds, then)

    def _block(self, order: Order, lack: NoPick) -> None:
        if lack.reason is not Lack.ALL_FULL:
            self._put_on_record(order, lack)
        elif order.timer is None and order.blocked is None:
            self._set_timer(order, FULL_NOTICE, lambda: self._put_on_record(order, lack))

    def _put_on_record(self, order: Order, lack: NoPick) -> None:
        order.timer = None
        if order.blocked is not lack.reason:
            order.blocked = lack.reason
            self.listener.blocked(order, lack)

    def _changed(self, plugin_id: str) -> None:
        if self._queues.get(plugin_id) and plugin_id not in self._dirty:
            self._dirty.add(plugin_id)
            asyncio.get_running_loop().call_soon(self._drain, plugin_id)

    def _drain(self, plugin_id: str) -> None:
        self._dirty.discard(plugin_id)
        queue = self._queues.get(plugin_id, {})
        for key, order in list(queue.items()):
            lack = self._try(order)
            if lack is None:
                queue.pop(key, None)
                continue
            self._block(order, lack)
            if not order.call.version_range:
                break  # whoever comes after it finds the same


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
