"""What tests of the dispatcher have in common: calls, and a listener that keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from forgemesh.orchestrator.dispatch.call_request import CallKey, CallRequest, WaitReason
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target, Timeouts
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts


class Log:
    """Is told what becomes of calls, and keeps it."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.where: dict[str, Dispatch | None] = {}
        self.reasons: dict[str, WaitReason] = {}
        self.lines: list[str] = []
        self.moved = asyncio.Event()
        self.dispatcher: Dispatcher | None = None
        self.held: list[tuple[CallKey, int]] | None = None
        """Calls of which it is not on record yet that they are not blocked; None: it is, as soon as it is said."""

    def answered(self, request: CallRequest, answer: Answer, where: Dispatch | None) -> None:
        assert request.path not in self.answers
        self.answers[request.path], self.where[request.path] = answer, where
        self._note(f"{request.path} answered")

    def blocked(self, request: CallRequest, why: WaitReason) -> None:
        self.reasons[request.path] = why
        self._note(f"{request.path} {why.reason.value}")

    def unblocked(self, request: CallRequest) -> None:
        self._note(f"{request.path} unblocked")
        if self.held is not None:
            self.held.append((request.key, request.attempt))
        elif self.dispatcher is not None:
            asyncio.get_running_loop().call_soon(self.dispatcher.released, request.key, request.attempt)

    def broke(self, request: CallRequest, error: Exception, *, sent: bool) -> None:
        self._note(f"{request.path} broke by {error}, {'maybe sent' if sent else 'not sent'}")

    def progressed(self, request: CallRequest, fraction: float, note: str, details: Payload | None) -> None:
        self._note(f"{request.path} {fraction:g} {note}")

    def reason(self, path: str) -> str:
        """Why the request failed."""
        failure = self.answers[path].failure
        return failure.reason if failure is not None else ""

    async def until(self, *lines: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while not set(lines) <= set(self.lines):
                self.moved.clear()
                await self.moved.wait()

    def _note(self, line: str) -> None:
        self.lines.append(line)
        self.moved.set()


class ScriptedCatalogue:
    """See ports.Catalogue: says what a test puts into it, or raises `fault`."""

    def __init__(self) -> None:
        self.provided: dict[str, list[Provider]] = {}
        self.fault: Exception | None = None
        self.looks = 0
        self.moved = asyncio.Event()

    async def plugins(self, plugin_id: str) -> dict[str, Any] | None:
        return None

    async def providers(self, interfaces: Collection[str]) -> dict[str, list[Provider]]:
        self.looks += 1
        self.moved.set()
        if self.fault is not None:
            raise self.fault
        return {interface: list(self.provided.get(interface, ())) for interface in interfaces}

    async def looked(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.looks < times:
                self.moved.clear()
                await self.moved.wait()


def dispatcher_over(
    hosts: ScriptedHosts,
    log: Log,
    providers: Providers | None = None,
    max_in_flight: int = 0,
    recorder: OutcomeRecorder | None = None,
) -> Dispatcher:
    """Its clock stands still at one second."""
    known = providers or Providers(ScriptedCatalogue())
    counted = recorder or OutcomeRecorder()
    log.dispatcher = Dispatcher(hosts, counted, known, lambda: 1_000_000_000, log, max_in_flight=max_in_flight)
    return log.dispatcher


def provider(plugin_id: str, plugin_version: str = "1.0.0", **facts: Any) -> Provider:
    known: dict[str, Any] = {"interface_version": "1.0.0", "operations": {"o": OperationFacts()}}
    return Provider(plugin_id=plugin_id, plugin_version=plugin_version, **(known | facts))


def call_request(path: str, version_range: str = "", plugin_id: str = "p", **facts: Any) -> CallRequest:
    known: dict[str, Any] = {
        "key": key(path, facts.pop("execution_id", "e"), facts.pop("namespace", "default")),
        "attempt": 1,
        "target": Target(plugin_id=plugin_id, version_range=version_range, operation="o"),
        "timeouts": Timeouts(),
        "input": Payload(b"{}"),
        "traceparent": "",
    }
    return CallRequest(**(known | facts))


def to_interface(path: str, version_range: str = "", **terms: Any) -> CallRequest:
    """A request for any provider of `shape`; `terms` are of its target, but for what a request has of its own."""
    facts = {name: terms.pop(name) for name in ("affinity", "tried", "idempotent") if name in terms}
    target = Target(interface="shape", version_range=version_range, operation="o", **terms)
    return call_request(path, target=target, **facts)


def key(path: str, execution_id: str = "e", namespace: str = "default") -> CallKey:
    return (namespace, execution_id, ""), path
