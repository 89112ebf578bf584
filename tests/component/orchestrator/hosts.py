"""Plugin instances that answer as a test tells them: the port behind which the real ones stand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from forgemesh.orchestrator.dispatch.ports import Answer, CallObserver, Invocation
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.routing.endpoint import CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.policy import DEFAULT, PluginPolicy
from forgemesh.routing.snapshot import Revision, Snapshot

PATIENCE = 180.0


def endpoint(instance_id: str, **facts: object) -> Endpoint:
    known: dict[str, object] = {
        "instance_id": instance_id,
        "incarnation": 1,
        "address": "127.0.0.1:1",
        "plugin_version": "1.0.0",
        "health": Health.SERVING,
        "session": True,
    }
    return Endpoint(**(known | facts))  # type: ignore[arg-type]


def with_open_circuit(instance_id: str, until: float, traceparent: str = "") -> Endpoint:
    return endpoint(instance_id, circuit=CircuitView(CircuitState.OPEN, 3, until, "failed", traceparent))


def half_open(instance_id: str, **facts: object) -> Endpoint:
    return endpoint(instance_id, circuit=CircuitView(CircuitState.HALF_OPEN, 4), **facts)


@dataclass(eq=False)
class Call:
    """One invocation that a link has been given."""

    instance_id: str
    invocation: Invocation
    done: Callable[[Answer], None]
    caller: CallObserver
    cancelled: bool = False

    @property
    def path(self) -> str:
        return self.invocation.step_path

    def progress(self, fraction: float, note: str = "", details: object = None) -> None:
        payload = Payload(json.dumps(details).encode()) if details is not None else None
        self.caller.progressed(fraction, note, payload)

    def succeed(self, value: object = None) -> None:
        self.done(Answer(Payload(json.dumps(value).encode()), None))

    def fail(self, failure: Failure, *, accepted: bool = True, sent: bool = True, told: bool = True) -> None:
        self.done(Answer(None, failure, accepted, sent=sent, told=told))


@dataclass(eq=False)
class ScriptedLink:
    """Keeps what it is given; `on_cancel` answers a call that is taken back."""

    instance_id: str
    plugin_id: str
    hosts: ScriptedHosts
    usable: bool = True
    has_room: bool = True
    session: bool = True
    open: dict[int, Call] = field(default_factory=dict)
    on_cancel: Callable[[Call], None] = lambda call: None
    unsent: set[int] = field(default_factory=set)
    """Calls that wait in the link."""

    @property
    def in_flight(self) -> int:
        return len(self.open)

    def invoke(self, invocation: Invocation, caller: CallObserver) -> int:
        name = len(self.hosts.calls) + 1

        def ended(answer: Answer) -> None:
            self.open.pop(name, None)
            caller.answered(answer)
            self.hosts.tell(self.plugin_id)

        call = Call(self.instance_id, invocation, ended, caller)
        self.open[name] = call
        self.hosts.came(call)
        return name

    def has_left(self, call: int) -> bool:
        return call not in self.unsent

    def hears_progress(self, call: int) -> bool:
        return self.session

    def cancel(self, call: int) -> None:
        found = self.open.get(call)
        if found is not None:
            found.cancelled = True
            self.hosts.moved.set()
            self.on_cancel(found)


class ScriptedHosts:
    """See ports.Hosts."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.moved = asyncio.Event()
        self._snapshots: dict[str, Snapshot] = {}
        self._links: dict[str, dict[str, ScriptedLink]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._revision = 0

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        return self._snapshots.get(plugin_id)

    def links(self, plugin_id: str) -> Mapping[str, ScriptedLink]:
        return self._links.get(plugin_id, {})

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def show(self, plugin_id: str, *endpoints: Endpoint, policy: PluginPolicy = DEFAULT) -> None:
        """A new snapshot of the plugin."""
        self._revision += 1
        self._snapshots[plugin_id] = Snapshot(plugin_id, Revision(1, self._revision), policy, endpoints)
        links = self._links.setdefault(plugin_id, {})
        for one in endpoints:
            links.setdefault(one.instance_id, ScriptedLink(one.instance_id, plugin_id, self))
        self.tell(plugin_id)

    def tell(self, plugin_id: str) -> None:
        for listener in self._listeners:
            listener(plugin_id)

    def came(self, call: Call) -> None:
        self.calls.append(call)
        self.moved.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what a call or its cancellation brings about."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.moved.clear()
                await self.moved.wait()

    async def call(self, path: str, attempt: int = 1, execution_id: str = "") -> Call:
        """The invocation of that try, once it has come."""

        def fits(call: Call) -> bool:
            named = not execution_id or call.invocation.execution_id == execution_id
            return named and (call.path, call.invocation.attempt) == (path, attempt)

        await self.until(lambda: any(map(fits, self.calls)))
        return next(call for call in self.calls if fits(call))

    async def answer(self, path: str, value: object = None, attempt: int = 1, execution_id: str = "") -> None:
        (await self.call(path, attempt, execution_id)).succeed(value)

    async def answer_from(self, path: str, attempt: int, execution_id: str) -> None:
        """Answer that try and all later ones until cancelled: one is in time, however slow the machine is."""
        for number in count(attempt):
            await self.answer(path, attempt=number, execution_id=execution_id)
