"""One life of the orchestrator: everything of it but the wire and the disk, from its start to its death."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING

from forgemesh.chassis.reconcile import ReconcileLoop
from forgemesh.chassis.steady_clock import SteadyClock
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution.commands.use_cases import Ports, UseCases
from forgemesh.orchestrator.execution.engine.engine import Engine, Owner
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.store.events import checksum
from forgemesh.orchestrator.store.sqlite.store import open_store
from forgemesh.orchestrator.values.shard import SOLE
from forgemesh.orchestrator.workflow.definitions import Definitions
from tests.component.orchestrator.simulated_mesh.database import WorldDatabase
from tests.component.orchestrator.simulated_mesh.library import parse
from tests.component.orchestrator.simulated_mesh.virtual_time import RunLoop

if TYPE_CHECKING:
    from tests.component.orchestrator.simulated_mesh.world import MeshWorld


class _NoSpans:
    """See ports.Spans."""

    def export(self, trace: ExecutionTrace, spans: Sequence[SpanFacts], position: int) -> None:
        pass


class ProcessRun:
    """Runs until `stop` is set or the world ends it."""

    def __init__(self, world: MeshWorld, loop: RunLoop, number: int) -> None:
        self._world = world
        self._loop = loop
        self._number = number
        self._tasks: set[asyncio.Task[None]] = set()
        self.database = WorldDatabase(world.disk, world.whims, loop)
        self.clock = SteadyClock(world.wall_clock, lambda: world.calendar.now)
        self.stop = asyncio.Event()
        self.ready = False
        self.offered: UseCases
        self.engine: Engine

    async def run(self) -> None:
        """In the order of the orchestrator's own start."""
        world, name = self._world, f"o-{self._number}"
        store = await open_store(self.database, parse)
        account = OutcomeRecorder(clock=self._loop.time)
        hosts = FeedHosts(name, account.breached)
        account.begins()
        providers = Providers(world.plugins)
        ports = Ports(
            store=store,
            spans=_NoSpans(),
            hosts=hosts,
            recorder=account,
            providers=providers,
            definitions=Definitions(store, world.plugins, hosts, parse, self.clock.now),
            time_and_chance=TimeAndChance(now=self.clock.now, draw=world.draw.random, wall_ahead=self.clock.wall_ahead),
            checksum=checksum,
            packing=ArchivePacking(),
        )
        self.offered = UseCases(ports, Owner(name, store.shard))
        self.engine = self.offered.engine
        self.offered.concurrency_slots.load(await store.slots({SOLE}))
        world.plugins.begin(hosts)
        sweeping = ReconcileLoop("sweep", self.offered.sweep.run, period=10.0)
        self.engine.on_suspended.add(sweeping.nudge)
        for work in (providers.run(), sweeping.run()):
            self.spawn(work)
        self.ready = True
        await self.stop.wait()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Have something done as long as this life lasts."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.bug(error)
