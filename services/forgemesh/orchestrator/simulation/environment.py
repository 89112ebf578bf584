"""Runs workflows one after the other, each until it has ended or can never end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from forgemesh.chassis.sqlite.database import open_database
from forgemesh.chassis.tasks import beside, watched
from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution import control
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.commands.use_cases import Ports, UseCases
from forgemesh.orchestrator.execution.engine.engine import Owner
from forgemesh.orchestrator.execution.engine.history import PAGE
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.facts import Event, SignalReceived
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace
from forgemesh.orchestrator.simulation.attended_database import AttendedDatabase
from forgemesh.orchestrator.simulation.pipe import Pipe
from forgemesh.orchestrator.simulation.report import account
from forgemesh.orchestrator.simulation.scripted_plugins import ScriptedPlugins
from forgemesh.orchestrator.simulation.virtual_loop import VirtualLoop
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.store.events import checksum
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS
from forgemesh.orchestrator.store.sqlite.store import open_store
from forgemesh.orchestrator.values.payload import json_payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.values.shard import Shard
from forgemesh.orchestrator.workflow.definition_text import read_definition
from forgemesh.orchestrator.workflow.definitions import Definitions

NAMESPACE = "default"
EPOCH = 1_767_225_600 * SECOND
"""2026-01-01T00:00:00Z, the moment in which every run begins."""
BY = "test"


class _NoSpans:
    """See ports.Spans; nobody looks at the trace of a workflow environment."""

    def export(self, trace: ExecutionTrace, spans: object, position: int) -> None:
        pass


@dataclass(slots=True)
class _Play:
    """
    One run, until `end` at most; `cues` are signals that wait until a step listens for them.

    It is `stuck` if nothing will happen any more, or nothing before `end` (`out_of_time`).
    """

    root: Running
    end: float
    stuck: asyncio.Event = field(default_factory=asyncio.Event)
    out_of_time: bool = False
    cues: list[SignalReceived] = field(default_factory=list)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class Environment:
    """The whole orchestrator but for the wire; while nothing is played, its time stands still."""

    def __init__(self, pipe: Pipe, loop: VirtualLoop, store: Store, shard: Shard) -> None:
        self._pipe = pipe
        self._loop = loop
        self._store = store
        self._random = random.Random(0)
        self._numbers = count(1)
        self.plugins = ScriptedPlugins(pipe, loop)
        self._providers = Providers(self.plugins)
        ports = Ports(
            store=store,
            spans=_NoSpans(),
            hosts=self.plugins,
            recorder=OutcomeRecorder(),
            providers=self._providers,
            definitions=Definitions(store, self.plugins, self.plugins, read_definition, self.now),
            time_and_chance=TimeAndChance(now=self.now, draw=self._random.random),
            checksum=checksum,
            packing=ArchivePacking(),
        )
        self._offered = UseCases(ports, Owner(BY, shard))
        self._engine = self._offered.engine

    def now(self) -> int:
        """Virtual Unix time in nanoseconds."""
        return EPOCH + self._loop.nanoseconds

    async def register(self, asked: dict[str, Any]) -> None:
        """Take a definition into the repertoire, with everything that it calls."""
        try:
            interfaces = self.plugins.enrol(read_definition(NAMESPACE, asked["source"]))
            stored, _ = await self._offered.definitions.register(NAMESPACE, asked["source"])
        except Fault as fault:
            self._pipe.say("refused", _refusal(fault))
            return
        await self._look_up(interfaces)
        self._pipe.say("registered", {"workflow": stored.definition.name})

    async def _look_up(self, interfaces: set[str]) -> None:
        """Know the providers of interfaces from the start: nobody looks for them again and again, as in a mesh."""
        if not interfaces:
            return
        known = asyncio.Event()
        self._providers.on_change(lambda interface: known.set())
        for interface in interfaces:
            self._providers.ask(interface)
        async with beside(self._providers.run()):
            await known.wait()

    async def play(self, asked: dict[str, Any]) -> None:
        """Run a workflow and tell what came of it; nothing of it is left over for the next one."""
        self._random.seed(asked["seed"])
        self.plugins.begin()
        execution_id = f"test-{next(self._numbers)}"
        request = StartRequest(
            namespace=NAMESPACE,
            workflow=asked["workflow"],
            execution_id=execution_id,
            input=json_payload(asked["input"]),
        )
        try:
            state, _ = await self._offered.starts.start(request)
        except Fault as fault:
            self._pipe.say("refused", _refusal(fault))
            return
        running = self._offered.owners.local(NAMESPACE, execution_id)
        play = await self._follow(running, asked) if running is not None else None
        stuck = play is not None and play.stuck.is_set()
        outcome = account(state.definition, execution_id, await self._history(execution_id), self.now())
        if play is not None and stuck:
            outcome["out_of_time"] = play.out_of_time
            outcome["hindrances"] = await self._blockers(execution_id)
        await self._clear()
        self._pipe.say("stuck" if stuck else "ended", outcome)

    async def _follow(self, running: Running, asked: dict[str, Any]) -> _Play:
        """Let time pass until the execution has ended, or until it is stuck."""
        play = _Play(running, self._loop.time() + asked["limit"])
        for number, signal in enumerate(asked["signals"], start=1):
            fact = SignalReceived(signal["name"], json_payload(signal["payload"]), f"signal-{number}", BY)
            if signal["after"] is None:
                play.cues.append(fact)
            else:
                play.timers.append(self._loop.call_later(signal["after"], self._signal, running, fact))
        if asked["cancel_after"] is not None:
            play.timers.append(self._loop.call_later(asked["cancel_after"], self._cancel, running))
        waits = [watched(play.root.left.wait()), watched(play.stuck.wait())]
        with self._loop.asking(partial(self._at_rest, play)):
            self._loop.release()
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self._loop.hold()
        for task in waits:
            task.cancel()
        for timer in play.timers:
            timer.cancel()
        return play

    def _at_rest(self, play: _Play, seconds: float | None) -> bool:
        """See VirtualLoop.asking: send what a step listens for, and see when nothing will ever happen any more."""
        for cue in play.cues:
            listener = next((one for one in self._engine.all_running() if cue.name in one.state.listening), None)
            if listener is not None:
                play.cues.remove(cue)
                self._signal(listener, cue)
                return False
        if seconds is None or self._loop.time() + seconds > play.end:
            play.out_of_time = seconds is not None
            play.stuck.set()
            return False
        return True

    def _signal(self, running: Running, fact: SignalReceived) -> None:
        if self._offered.owners.local(*running.name) is running:
            self._engine.turn(running, control.signal(running.state, fact))

    def _cancel(self, running: Running) -> None:
        with contextlib.suppress(Fault):  # it is ending already
            if self._offered.owners.local(*running.name) is running:
                self._engine.turn(running, control.cancel(running.state, BY, "the script says so"))

    async def _blockers(self, execution_id: str) -> list[dict[str, str]]:
        """What an execution that is stuck waits for; `signal` names the one that would let it go on."""
        explanation = await self._offered.executions.explain(NAMESPACE, execution_id)
        running = self._offered.owners.local(NAMESPACE, execution_id)
        listening = running.state.listening if running is not None else {}
        awaited = {path: name for name, steps in listening.items() for path in steps}
        return [
            {
                "reason": one.reason,
                "step_path": one.step_path,
                "message": one.message,
                "signal": awaited.get(one.step_path, ""),
            }
            for one in explanation.blockers
        ]

    async def _history(self, execution_id: str) -> list[Event]:
        row = await self._offered.executions.row(NAMESPACE, execution_id)
        history: list[Event] = []
        while found := await self._store.events(row.key, len(history) + 1, PAGE):
            history += found
        return history

    async def _clear(self) -> None:
        """Children that were let go, and whatever is stuck, end here."""
        for running in self._engine.all_running():
            with contextlib.suppress(Fault):
                await self._offered.controls.terminate(*running.name, BY, "the test is over")


@contextlib.asynccontextmanager
async def setting_up(pipe: Pipe, loop: VirtualLoop, path: Path) -> AsyncIterator[Environment]:
    """A stage over a database of its own at `path`; time stands still."""
    loop.hold()
    async with open_database(path, MIGRATIONS, synchronous="NORMAL") as database:
        store = await open_store(AttendedDatabase(database, loop), read_definition)
        yield Environment(pipe, loop, store, store.shard)


def _refusal(fault: Fault) -> dict[str, object]:
    return {
        "reason": fault.reason,
        "message": fault.message,
        "violations": [{"field": one.field, "message": one.message} for one in fault.violations],
    }
