"""What the orchestrator offers, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import Hosts
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution.archives.archives import Archives, Packing
from forgemesh.orchestrator.execution.commands.bulk import Bulk
from forgemesh.orchestrator.execution.commands.controls import Controls
from forgemesh.orchestrator.execution.commands.forks import Forks
from forgemesh.orchestrator.execution.commands.starts import Starts
from forgemesh.orchestrator.execution.engine.arrivals import Arrivals
from forgemesh.orchestrator.execution.engine.awaited_ends import AwaitedEnds
from forgemesh.orchestrator.execution.engine.calls import Calls
from forgemesh.orchestrator.execution.engine.children import Children
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots
from forgemesh.orchestrator.execution.engine.engine import Engine, Owner
from forgemesh.orchestrator.execution.engine.executor import Executor
from forgemesh.orchestrator.execution.engine.families import Families
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.owners import Owners
from forgemesh.orchestrator.execution.engine.recovery import Recovery
from forgemesh.orchestrator.execution.engine.results import Results
from forgemesh.orchestrator.execution.engine.sweep import Sweep
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.engine.turn_marker import TurnMarker
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.family import FamilyLimits
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.queries.executions import Executions
from forgemesh.orchestrator.execution.trace.ports import Spans
from forgemesh.orchestrator.workflow.definitions import Definitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """
    What executions need of the world. `checksum` is that of an event as the store keeps it, and `damaged` says what is
    to be said of each record that was found damaged.
    """

    store: Store
    spans: Spans
    hosts: Hosts
    recorder: OutcomeRecorder
    providers: Providers
    definitions: Definitions
    time_and_chance: TimeAndChance
    checksum: Callable[[Event], int]
    packing: Packing
    damaged: Callable[[], Sequence[str]] = tuple


class UseCases:
    """One of each; `max_in_flight` calls at once, 0 for any number."""

    def __init__(
        self,
        ports: Ports,
        owner: Owner,
        *,
        family: FamilyLimits | None = None,
        max_in_flight: int = 0,
        marker: TurnMarker | None = None,
    ) -> None:
        self._ports = ports
        store, now, marker = ports.store, ports.time_and_chance.now, marker or TurnMarker()
        self.definitions = ports.definitions
        self.open_executions = OpenExecutions()
        self.owners = Owners(store, self.open_executions)
        self.families = Families(self.open_executions, family or FamilyLimits())
        self._max_in_flight = max_in_flight
        self.engine = Engine(
            store, ports.spans, self.open_executions, self._executor, ports.time_and_chance, owner, marker
        )
        self.arrivals = Arrivals(store, ports.spans, self.engine, self.open_executions, self.concurrency_slots, now)
        self.controls = Controls(
            store,
            self.engine,
            self.owners,
            self.executions,
            self.starts,
            Forks(store, self.owners, self.definitions),
            AwaitedEnds(store, self.owners, self.definitions),
            self.arrivals,
            ports.checksum,
        )
        self.bulk = Bulk(store, self.starts)
        self.archives = Archives(store, self.arrivals, self.definitions, self.executions, ports.packing)
        self.recovery = Recovery(
            store, self.engine, self.open_executions, self.arrivals, self.families, self.definitions, marker
        )
        self.sweep = Sweep(store, self.engine, self.executor, self.recovery, now, ports.damaged)

    def _executor(self, engine: Engine) -> Executor:
        """What performs the engine's effects, and comes back to it with what follows."""
        ports, open_executions = self._ports, self.open_executions
        store, now = ports.store, ports.time_and_chance.now
        dispatcher = partial(
            Dispatcher, ports.hosts, ports.recorder, ports.providers, now, max_in_flight=self._max_in_flight
        )
        results = Results(store, ports.hosts, ports.providers, now)
        self.calls = Calls(engine, open_executions, results, ports.time_and_chance, dispatcher)
        self.concurrency_slots = ConcurrencySlots(engine, open_executions)
        self.executions = Executions(store, engine, self.owners, self.definitions, now, ports.checksum)
        self.starts = Starts(store, engine, self.owners, self.definitions, self.executions, self.concurrency_slots, now)
        self.children = Children(engine, open_executions, self.families, self.starts, ports.time_and_chance)
        self.executor = Executor(self.calls, self.children, self.families, self.concurrency_slots)
        return self.executor
