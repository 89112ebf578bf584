"""The plugins of a workflow environment: there is every one that a definition names, and a script answers for it."""

from __future__ import annotations

import re
from asyncio import TimerHandle
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from forgemesh.faults import Code
from forgemesh.faults.workflow import Cancelled, HostLost
from forgemesh.orchestrator.dispatch.ports import Answer, CallObserver, HostLink, Invocation
from forgemesh.orchestrator.simulation.pipe import Pipe
from forgemesh.orchestrator.simulation.virtual_loop import VirtualLoop
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import json_payload
from forgemesh.orchestrator.workflow.definition import Definition, Target
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider, fits
from forgemesh.routing.endpoint import Endpoint, Health
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.snapshot import Revision, Snapshot

_VERSION = re.compile(r"\d+(?:\.\d+){0,2}")


@dataclass(slots=True)
class _Part:
    """A call that the script has been asked to answer; `hangs` once it will not, `timer` while its answer is due."""

    observer: CallObserver
    invocation: Invocation
    instance_id: str
    hangs: bool = False
    timer: TimerHandle | None = None


class ScriptedPlugins:
    """Hosts and catalogue in one. An interface is provided by a plugin of the same name."""

    def __init__(self, pipe: Pipe, loop: VirtualLoop) -> None:
        self.pipe = pipe
        self.loop = loop
        self.began = 0.0
        self.parts: dict[int, _Part] = {}
        self._numbers = 0
        self._versions: dict[str, dict[str, Mapping[str, OperationFacts]]] = {}
        self._providers: dict[str, list[Provider]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._links: dict[str, dict[str, HostLink]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def enrol(self, definition: Definition) -> set[str]:
        """Have an instance of everything that the definition may call; the interfaces among that."""
        targets = list(_targets(definition))
        for target in targets:
            version = self._play_plugin(target) if target.plugin_id else self._play_provider(target)
            versions = self._versions.setdefault(target.name, {})
            versions[version] = {**versions.get(version, {}), target.operation: OperationFacts()}
            self._show(target.name)
        return {target.interface for target in targets if target.interface}

    def begin(self) -> None:
        """A new run: moments count from now, and calls that still hang are forgotten."""
        self.began = self.loop.time()
        self.parts.clear()

    def _play_plugin(self, target: Target) -> str:
        known = self._versions.get(target.plugin_id, {})
        return next((version for version in known if fits(version, target.version_range)), _fitting(target))

    def _play_provider(self, target: Target) -> str:
        """One plugin version for each thing that is asked of providers."""
        known = self._providers.setdefault(target.interface, [])
        version = f"1.0.{len(known)}"
        known.append(
            Provider(
                plugin_id=target.interface,
                plugin_version=version,
                interface_version=_fitting(target),
                operations={target.operation: OperationFacts()},
                metadata={**target.prefer, **target.must},
            )
        )
        return version

    def _show(self, plugin_id: str) -> None:
        endpoints = tuple(
            Endpoint(
                instance_id=f"{plugin_id}-{version}",
                incarnation=1,
                address="test",
                plugin_version=version,
                health=Health.SERVING,
                session=True,
            )
            for version in self._versions[plugin_id]
        )
        revision = Revision(1, len(self._snapshots) + len(endpoints))
        self._snapshots[plugin_id] = Snapshot(plugin_id, revision, DEFAULT, endpoints)
        self._links[plugin_id] = {one.instance_id: ScriptedLink(plugin_id, one.instance_id, self) for one in endpoints}
        for listener in self._listeners:
            listener(plugin_id)

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        """See ports.Hosts."""
        return self._snapshots.get(plugin_id)

    def links(self, plugin_id: str) -> Mapping[str, HostLink]:
        """See ports.Hosts."""
        return self._links.get(plugin_id, {})

    def on_change(self, listener: Callable[[str], None]) -> None:
        """See ports.Hosts."""
        self._listeners.append(listener)

    async def plugins(self, plugin_id: str) -> dict[str, Mapping[str, OperationFacts]] | None:
        """See ports.Catalogue."""
        return self._versions.get(plugin_id)

    async def providers(self, interfaces: Collection[str]) -> dict[str, list[Provider]]:
        """See ports.Catalogue."""
        return {interface: list(self._providers.get(interface, ())) for interface in interfaces}

    def ask(self, plugin_id: str, instance_id: str, invocation: Invocation, observer: CallObserver) -> int:
        """Let the script play the call; time stands still until it has said how."""
        self._numbers += 1
        self.parts[self._numbers] = _Part(observer, invocation, instance_id)
        self.loop.hold()
        call = {
            "number": self._numbers,
            "plugin": plugin_id,
            "operation": invocation.operation,
            "execution_id": invocation.execution_id,
            "step_path": invocation.step_path,
            "attempt": invocation.attempt,
            "input": invocation.input.value(),
            "at": self.loop.time() - self.began,
        }
        self.pipe.say("call", call)
        return self._numbers

    def answer(self, said: Mapping[str, Any]) -> None:
        """The script has said how it plays a call."""
        self.loop.release()
        part = self.parts.get(said["number"])
        if part is None:
            return
        if said.get("silent"):
            part.hangs = True
        elif said.get("takes"):
            part.timer = self.loop.call_later(said["takes"], self._deliver, said["number"], said)
        else:
            self._deliver(said["number"], said)

    def _deliver(self, number: int, said: Mapping[str, Any]) -> None:
        part = self.parts.pop(number, None)
        if part is not None:
            part.observer.answered(_answer(part, said))

    def take_back(self, number: int) -> None:
        """Nobody wants the call any more: what hangs goes on to hang, and what takes its time stops."""
        part = self.parts.get(number)
        if part is None or part.timer is None:
            return
        part.timer.cancel()
        del self.parts[number]
        path = part.invocation.step_path
        part.observer.answered(Answer(None, failure_of(Cancelled(path), step_path=path)))


class ScriptedLink:
    """See ports.HostLink; to an instance that is always there and always has room."""

    usable = True
    has_room = True

    def __init__(self, plugin_id: str, instance_id: str, plugins: ScriptedPlugins) -> None:
        self._plugin_id = plugin_id
        self._instance_id = instance_id
        self._plugins = plugins

    @property
    def in_flight(self) -> int:
        return 0

    def invoke(self, invocation: Invocation, observer: CallObserver) -> int:
        return self._plugins.ask(self._plugin_id, self._instance_id, invocation, observer)

    def cancel(self, call: int) -> None:
        self._plugins.take_back(call)

    def has_left(self, call: int) -> bool:
        return True

    def hears_progress(self, call: int) -> bool:
        """A call that takes its time shows that it lives; one that hangs does not."""
        part = self._plugins.parts.get(call)
        return part is not None and part.timer is None


def _answer(part: _Part, said: Mapping[str, Any]) -> Answer:
    if said.get("dies"):
        return Answer(None, failure_of(HostLost(part.instance_id, accepted=True), retryable=True))
    failure = said.get("failure")
    if failure is None:
        return Answer(json_payload(said.get("output")), None)
    return Answer(
        None,
        Failure(
            Code[failure["code"]],
            failure["reason"],
            failure["message"],
            failure["metadata"],
            failure["retryable"],
            retry_after=failure["retry_after"],
        ),
    )


def _targets(definition: Definition) -> Iterator[Target]:
    for _, call in definition.calls():
        yield call.target
        if call.compensate is not None:
            yield call.compensate.target


def _fitting(target: Target) -> str:
    """A version in the target's range: one that it names, or the next after such a one."""
    named = [[int(part) for part in text.split(".")] for text in _VERSION.findall(target.version_range)]
    candidates = ["1.0.0"]
    for parts in named:
        major, minor, patch = (*parts, 0, 0)[:3]
        candidates += [
            f"{major}.{minor}.{patch}",
            f"{major}.{minor}.{patch + 1}",
            f"{major}.{minor + 1}.0",
            f"{major + 1}.0.0",
        ]
    candidates += ["0.0.0", "0.0.1", "0.1.0"]
    return next((version for version in candidates if fits(version, target.version_range)), candidates[0])
