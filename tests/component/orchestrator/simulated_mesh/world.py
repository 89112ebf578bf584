"""A mesh in which anything may happen at any moment: the whole orchestrator, its plugins, its people and its deaths."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from forgemesh.faults import Fault
from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.dispatch.session import link as session
from forgemesh.orchestrator.execution.facts import SignalReceived
from forgemesh.orchestrator.values.payload import json_payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.simulated_mesh.database import Whims, disk_of
from tests.component.orchestrator.simulated_mesh.effects import Effects
from tests.component.orchestrator.simulated_mesh.laws import Broken, demand, listening
from tests.component.orchestrator.simulated_mesh.library import EPOCH, SHARED, find, shelved
from tests.component.orchestrator.simulated_mesh.people import People
from tests.component.orchestrator.simulated_mesh.plugins import Plugins
from tests.component.orchestrator.simulated_mesh.process_run import ProcessRun
from tests.component.orchestrator.simulated_mesh.record import Moment, Record
from tests.component.orchestrator.simulated_mesh.virtual_time import Calendar, Died, RunLoop
from tests.component.orchestrator.simulated_mesh.wire import Channel

TROUBLE = 10.0
"""Seconds for which people, plugins and the orchestrator's process do what they like."""
PATIENCE = 3_600.0
"""Seconds after that within which everything must have ended."""
MOST_DEATHS = 4


class MeshWorld:
    """Runs one seed to its end; raises Broken for what must not happen."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.disk = disk_of(shelved(seed // SHARED))
        self.calendar = Calendar()
        self.effects = Effects()
        self.whims = Whims(self.draw.random)
        self.plugins = Plugins(self.draw, self.calendar, self.effects)
        self.record = Record(self.disk, self.whims, self.effects, lambda _, name, __: find(seed, name))
        self.people = People(self.draw, self.record)
        self.process_run: ProcessRun | None = None
        self.deaths = 0
        self.clock_error = 0
        self.calm = False
        self.over = False
        self.saved = self.leaked = 0
        self._until_death = self._next_death()
        self.whims.committed = self._committed
        self.whims.moment = self._moment

    def wall_clock(self) -> int:
        """Unix nanoseconds; people set it."""
        return EPOCH + self.calendar.now + self.clock_error

    def _next_death(self) -> int:
        return self.draw.choice((10, 30, 80, 200, 400))

    def run(self) -> None:
        """To the end of every execution."""
        with listening(), _entropy(self.seed, self.wall_clock), mock.patch.object(session, "connect", self._connect):
            self._plan()
            with contextlib.closing(self.disk):
                while not self.over:
                    self._live()
                    self.calendar.pass_time(self.draw.random() * 3)

    def _connect(self, address: str, **_: object) -> Channel:
        return Channel(self.plugins, address)

    def _plan(self) -> None:
        for _ in range(self.draw.randint(10, 20)):
            self.calendar.after(self.draw.random() * TROUBLE, self._act)
        for _ in range(self.draw.randint(0, 8)):
            self.calendar.after(self.draw.random() * TROUBLE, self._strike)
        if self.draw.random() < 0.2:
            self.calendar.after(self.draw.random() * TROUBLE, lambda: self._fill(True))
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            self.calendar.after(self.draw.random() * TROUBLE, self._set_clock)
        self.calendar.after(TROUBLE, self._calm_down)

    def _set_clock(self) -> None:
        """By a minute, or back to what is right."""
        self.clock_error = self.draw.choice((-60, 0, 60)) * SECOND

    def _act(self) -> None:
        process_run = self.process_run
        if self.calm:
            return
        if process_run is None or not process_run.ready:
            self.calendar.after(0.5, self._act)
        else:
            process_run.spawn(self.people.act(process_run))

    def _strike(self) -> None:
        if not self.calm:
            self.plugins.strike()

    def _fill(self, full: bool) -> None:
        self.whims.full = full
        if full:
            self.calendar.after(0.2 + self.draw.random(), lambda: self._fill(False))

    def _calm_down(self) -> None:
        self.calm = True
        self.whims.full = False
        self.plugins.calm_down()
        self.calendar.after(1.0, self._care)
        self.calendar.after(PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if not self.over:
            left = {one.name: self._why(one.namespace, one.execution_id) for one in self.record.open_ones()}
            raise Broken("every execution ends", str(left))

    def _why(self, namespace: str, execution_id: str) -> str:
        running = (
            self.process_run.offered.owners.local(namespace, execution_id) if self.process_run is not None else None
        )
        if running is None:
            return "is not in memory"
        state = running.state
        return f"{state.status.value} queued={state.queued} open={list(state.open_attempts)} waits={list(state.waits)}"

    def _live(self) -> None:
        loop = RunLoop(self.calendar.now)
        runner = asyncio.Runner(loop_factory=lambda: loop)
        try:
            process_run = ProcessRun(self, runner.get_loop(), self.deaths + 1)  # type: ignore[arg-type]
            loop.set_exception_handler(self._raised)
            self.calendar.enter(loop)
            self.process_run = process_run
            runner.run(process_run.run())
            self.over = True
        except (Died, StoreUnavailable):  # whoever cannot write ends, and is started again
            self.deaths += 1
        finally:
            process_run.database.dead = True
            self.process_run = None
            self.plugins.silence()
            self.calendar.leave()
            runner.close()
            self.whims.known = self.record.position

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.process_run is not None and error is not None:
            self.bug(error)

    def bug(self, error: BaseException) -> None:
        """Something raised that nobody foresaw."""
        raise Broken("nothing raises but faults", repr(error)) from error

    def _committed(self) -> None:
        if self.process_run is not None:
            self.record.moment = Moment(self.deaths, self.calendar.now)
        self.record.look()

    def _moment(self) -> None:
        """Between any two writes the process may die."""
        if self.calm or self.deaths >= MOST_DEATHS or self.process_run is None or not self.process_run.ready:
            return
        self._until_death -= 1
        if self._until_death <= 0:
            self._until_death = self._next_death()
            raise Died

    def _care(self) -> None:
        """People see to what waits for them, until nothing is open."""
        process_run = self.process_run
        if process_run is None or not process_run.ready:
            self.calendar.after(0.5, self._care)
            return
        if not self.record.open_ones():
            self.calendar.after(15.0, self._close)
            return
        process_run.spawn(self._look_after(process_run))
        self.calendar.after(1.0, self._care)

    async def _look_after(self, process_run: ProcessRun) -> None:
        controls = process_run.offered.controls
        for account in self.record.open_ones():
            running = process_run.offered.owners.local(account.namespace, account.execution_id)
            if running is None:
                continue
            state, name = running.state, running.name
            with contextlib.suppress(Fault):
                if state.pause is not None:
                    await controls.resume(*name, "", "caretaker")
                for path in list(state.incidents):
                    done = bool(self.effects.done.get((account.key, path)))
                    await self.people.resolve(process_run.offered, account, path, "complete" if done else "fail")
                for signal in list(state.listening):
                    await process_run.offered.controls.signal(*name, SignalReceived(signal, json_payload(1)))

    def _close(self) -> None:
        """Everything has ended, and some time has passed."""
        process_run = self.process_run
        assert process_run is not None
        if self.record.open_ones():  # something came late
            self._care()
            return
        sweep = process_run.offered.sweep
        self.saved, self.leaked = sweep.saved, process_run.offered.concurrency_slots.leaked()
        demand(sweep.saved == 0, "nothing has to be saved", sweep.saved)
        demand(self.leaked == 0, "no place leaks", self.leaked)
        demand(process_run.engine.count == 0, "nothing is open for nothing", process_run.engine.count)
        under_way = process_run.offered.calls._dispatcher.in_flight
        demand(under_way == 0, "no call leaks", under_way)
        self.record.check_rows()
        process_run.stop.set()


@contextlib.contextmanager
def _entropy(seed: int, clock: Callable[[], int]) -> Iterator[None]:
    """Whoever asks this process for chance gets that of the seed, and ids that hold the time of day hold the mesh's."""
    chance = random.Random(f"entropy {seed}")
    before = random.getstate()
    random.seed(seed)
    with (
        mock.patch.object(os, "urandom", chance.randbytes),
        mock.patch.object(secrets, "token_bytes", chance.randbytes),
        mock.patch.object(time, "time_ns", clock),
    ):
        yield
    random.setstate(before)
