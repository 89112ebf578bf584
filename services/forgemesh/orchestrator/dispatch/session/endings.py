"""How processes of plugin instances have ended, as the registry was told by whoever looked after them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING

import grpc

from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2 as pb, registry_service_pb2_grpc
from forgemesh.chassis.containment import contained
from forgemesh.chassis.resumable import follow
from forgemesh.faults import Fault
from forgemesh.faults.registry import RevisionCompacted
from forgemesh.orchestrator.dispatch.session.codec import MAX_NOTE

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

SILENCE = 10.0
"""Seconds without a word from the registry after which the stream is opened again."""
LONGEST_WAIT = 1.0
"""Seconds that a lost call waits for the word how its process ended, which usually comes within milliseconds."""
REMEMBERED = 1000
"""Endings that are known."""
_KINDS = (event_pb2.EVENT_KIND_CRASHED, event_pb2.EVENT_KIND_CRASH_LOOP, event_pb2.EVENT_KIND_STOPPED)

Told = Callable[[str], object]


class Endings:
    """
    Whoever has lost an incarnation of an instance may `ask`, and is told once: at once if that is known, or nobody
    could tell it, else as soon as it is, after LONGEST_WAIT in any case, with an empty text if nothing came.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], str] = {}
        self._asked: dict[tuple[str, int], list[Told]] = {}
        self._position: instance_pb2.Revision | None = None
        self._heard = False

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Follow the registry's events until cancelled."""
        stub: RegistryServiceAsyncStub = registry_service_pb2_grpc.RegistryServiceStub(channel)

        def open_stream() -> AsyncIterable[pb.WatchEventsResponse]:
            return stub.WatchEvents(pb.WatchEventsRequest(resume_after=self._position))

        events = follow(
            "the registry's events", open_stream, silence=SILENCE, on_break=self._away, on_refusal=self._refused
        )
        async for step in events:
            self._heard, self._position = True, step.position
            if step.event.kind in _KINDS:
                with contained(f"the end of {step.event.instance_id}"):
                    self.told(step.event.instance_id, step.event.incarnation, ending_of(step.event))

    def told(self, instance_id: str, incarnation: int, ending: str) -> None:
        """The process of this incarnation has ended; what was said first counts."""
        if not incarnation or (instance_id, incarnation) in self._known:
            return
        self._known[instance_id, incarnation] = ending
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        for told in self._asked.pop((instance_id, incarnation), []):
            told(ending)

    def ask(self, instance_id: str, incarnation: int, told: Told) -> None:
        """See above; `told` is called from within if there is nothing to wait for."""
        key = instance_id, incarnation
        if key in self._known or not self._heard:
            told(self._known.get(key, ""))
            return
        self._asked.setdefault(key, []).append(told)
        asyncio.get_running_loop().call_later(LONGEST_WAIT, self._give_up, key, told)

    def close(self) -> None:
        """Nobody waits any more."""
        self._heard = False
        asked, self._asked = self._asked, {}
        for waiting in asked.values():
            for told in waiting:
                told("")

    def _give_up(self, key: tuple[str, int], told: Told) -> None:
        waiting = self._asked.get(key, [])
        if told in waiting:
            waiting.remove(told)
            if not waiting:
                del self._asked[key]
            told("")

    def _away(self) -> None:
        self._heard = False

    def _refused(self, fault: Fault) -> None:
        if isinstance(fault, RevisionCompacted):
            self._position = None


def ending_of(event: event_pb2.Event) -> str:
    """In a sentence: the exit code or signal, and the last words of the process as far as there are any."""
    said = event.message.removeprefix(f"{event.instance_id}: ")
    if "signal" in event.facts and "killed by signal" not in said:
        said = f"{said} (killed by signal {event.facts['signal']})"
    elif "exit_code" in event.facts and "exit code" not in said:
        said = f"{said} (exit code {event.facts['exit_code']})"
    return said[:MAX_NOTE]
