"""A whole orchestrator but for the wire: the real store, engine, recovery and use cases over scripted hosts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.commands.use_cases import Ports, UseCases
from forgemesh.orchestrator.execution.engine.engine import Engine, Owner
from forgemesh.orchestrator.execution.engine.recovery import Recovery
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.engine.turn_marker import TurnMarker
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.family import FamilyLimits
from forgemesh.orchestrator.execution.queries.executions import Executions
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.store.events import checksum
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS
from forgemesh.orchestrator.store.sqlite.store import SqliteStore, open_store
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definitions import Definitions
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.unit.orchestrator.workflows import parsed


class AnyPlugin:
    """
    A catalogue in which every plugin has the operation `o`; what is put into `known` is all there is of it. Raises
    `fault`, if there is one.
    """

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Mapping[str, OperationFacts]] | None] = {}
        self.provided: dict[str, list[Provider]] = {}
        self.fault: Exception | None = None

    async def plugins(self, plugin_id: str) -> dict[str, Mapping[str, OperationFacts]] | None:
        if self.fault is not None:
            raise self.fault
        return self.known.get(plugin_id, {"1.0.0": {"o": OperationFacts()}})

    async def providers(self, interfaces: Collection[str]) -> dict[str, list[Provider]]:
        return {interface: self.provided.get(interface, []) for interface in interfaces}


@dataclass
class KeptSpans:
    """Takes spans as an exporter does."""

    spans: list[tuple[SpanFacts, int]] = field(default_factory=list)

    def export(self, trace: ExecutionTrace, spans: Sequence[SpanFacts], position: int) -> None:
        self.spans += [(span, position) for span in spans]


@dataclass
class Orchestrator:
    """What a test has in its hands."""

    store: SqliteStore
    hosts: ScriptedHosts
    account: OutcomeRecorder
    engine: Engine
    offered: UseCases
    catalogue: AnyPlugin
    spans: KeptSpans
    suspended: asyncio.Event
    providers: Providers

    @property
    def definitions(self) -> Definitions:
        return self.offered.definitions

    @property
    def executions(self) -> Executions:
        return self.offered.executions

    @property
    def recovery(self) -> Recovery:
        return self.offered.recovery

    async def start(self, source: str, given: object = None, **facts: object) -> ExecutionState:
        """Register and start; the id of the execution is "e" unless another one is given."""
        stored, _ = await self.definitions.register("default", source)
        known: dict[str, object] = {
            "namespace": "default",
            "workflow": stored.definition.name,
            "version": stored.definition.version,
            "execution_id": "e",
            "request_id": "",
            "input": Payload(json.dumps({} if given is None else given).encode()),
        }
        state, _ = await self.offered.starts.start(StartRequest(**(known | facts)))  # type: ignore[arg-type]
        return state

    async def ended(self, execution_id: str = "e") -> ExecutionState:
        """The execution once it has ended, as the store has it."""
        async with asyncio.timeout(PATIENCE):
            running = self.offered.owners.local("default", execution_id)
            if running is not None:
                await running.left.wait()
            state = await self.executions.get("default", execution_id)
        assert state.status.final
        return state

    async def until(self, holds: Callable[[ExecutionState], bool], execution_id: str = "e") -> ExecutionState:
        """The execution as soon as what is durable of it fulfils the condition."""
        async with asyncio.timeout(PATIENCE):
            while True:
                running = self.offered.owners.local("default", execution_id)
                change = running.change() if running is not None else None
                state = await self.executions.get("default", execution_id)
                if holds(state):
                    return state
                assert not state.status.final, f"it is over: {state.status}"
                if change is not None:  # else it is being taken up again, and the next look at the store gives it time
                    await change.wait()

    async def history(self, execution_id: str = "e") -> list[Event]:
        row = await self.executions.row("default", execution_id)
        return await self.store.events(row.key, 1, 10_000)


def orchestrator_over(
    store: SqliteStore,
    hosts: ScriptedHosts,
    wall_ahead: Callable[[], int] = lambda: 0,
    family: FamilyLimits | None = None,
    marker: TurnMarker | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> Orchestrator:
    spans, suspended, catalogue, account = KeptSpans(), asyncio.Event(), AnyPlugin(), OutcomeRecorder()
    account.begins()
    providers = Providers(catalogue)
    ports = Ports(
        store=store,
        spans=spans,
        hosts=hosts,
        recorder=account,
        providers=providers,
        definitions=Definitions(
            store, catalogue, hosts, lambda namespace, source: parsed(source, namespace), time.time_ns
        ),
        time_and_chance=TimeAndChance(now=clock, draw=lambda: 0.5, wall_ahead=wall_ahead),
        checksum=checksum,
        packing=ArchivePacking(),
    )
    offered = UseCases(ports, Owner(f"o-{store.shard.epoch}", store.shard), family=family, marker=marker)
    offered.engine.on_suspended.add(suspended.set)
    return Orchestrator(store, hosts, account, offered.engine, offered, catalogue, spans, suspended, providers)


@contextlib.asynccontextmanager
async def database_at(path: Path) -> AsyncIterator[Database]:
    async with open_database(path, MIGRATIONS) as database:
        yield database


async def store_over(database: Database) -> SqliteStore:
    """A store with a new owner epoch."""
    return await open_store(database, lambda namespace, source: parsed(source, namespace))
